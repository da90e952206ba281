"""What methods put on a model, in torch and PEFT; nothing here is imported before a method is attached or loaded."""

from gelora_cli.core.heavy_imports import import_heavy

import_heavy("torch", "transformers.modeling_utils", "peft")  # PEFT imports bitsandbytes, which must fetch nothing
