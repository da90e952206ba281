"""The names of this package under the address that they had before; for the time of the move only."""

from gelora_cli.models.block_map import *  # noqa: F403
from gelora_cli.models.heads import *  # noqa: F403
from gelora_cli.models.heads import modules_outside_backbone as own_head  # noqa: F401
from gelora_cli.models.load import *  # noqa: F403
from gelora_cli.models.locate import *  # noqa: F403
from gelora_cli.models.tokenizer import *  # noqa: F403
