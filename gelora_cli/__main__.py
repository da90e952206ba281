"""`python -m gelora_cli` is `gelora`."""

from gelora_cli.commands.main import main

if __name__ == "__main__":
    main()
