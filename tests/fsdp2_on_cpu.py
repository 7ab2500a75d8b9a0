"""run_mner.py with FSDP2 on CPUs, for tests.

torch shards on CPUs as on GPUs. accelerate (1.15) has a list of devices in `AcceleratorState` on which it heeds the
launcher's FSDP settings; on a CPU it makes DDP of them. This adds the CPU to the list, and changes nothing else.
"""

import sys
from pathlib import Path

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

make_state = AcceleratorState.__init__


def make_state_on_cpus_too(self, *args, fsdp_plugin=None, **kwargs):
    """Make the state, and do what accelerate does for the devices of its list."""
    make_state(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if self.distributed_type == DistributedType.MULTI_CPU and fsdp_plugin is not None:
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP
        if self._mixed_precision != "no":
            fsdp_plugin.set_mixed_precision(self._mixed_precision)
        self.fsdp_plugin = fsdp_plugin


AcceleratorState.__init__ = make_state_on_cpus_too

if __name__ == "__main__":
    # This file's folder has the tests of the packages under the packages' names.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from run_mner import cli

    cli()
