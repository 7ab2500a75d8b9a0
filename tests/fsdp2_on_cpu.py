"""run_mner.py with FSDP2 on CPUs, for tests.

torch shards on CPUs as on GPUs. accelerate (1.15) asks for FSDP2 on devices of its list alone, in `AcceleratorState`; on
others it makes DDP of it and says nothing. This adds the CPU to its list, and changes nothing else.
"""

import sys
from pathlib import Path

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

make_state = AcceleratorState.__init__


def make_state_with_cpus(self, *args, fsdp_plugin=None, **kwargs):
    """Do what follows accelerate's list."""
    make_state(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if self.distributed_type == DistributedType.MULTI_CPU and fsdp_plugin is not None:
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        if self._mixed_precision != "no":
            fsdp_plugin.set_mixed_precision(self._mixed_precision)
        self.fsdp_plugin = fsdp_plugin


AcceleratorState.__init__ = make_state_with_cpus

if __name__ == "__main__":
    from run_mner import cli

    cli()
