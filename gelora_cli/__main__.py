"""`python -m gelora_cli` is `gelora`."""

from gelora_cli.cli import main

if __name__ == "__main__":
    main()
