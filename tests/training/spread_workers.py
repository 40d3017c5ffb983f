"""A launched process that spreads its model (FSDP2) without a GPU.

accelerate keeps FSDP for processes with a GPU each, and torch does not: told that these are such,
accelerate spreads the model over CPUs, by the same code.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"

import torch.distributed as dist
from accelerate.state import PartialState
from accelerate.utils import DistributedType

from admire_pipeline.training import trainer, worker

PartialState._prepare_backend = lambda *_: ("gloo", DistributedType.MULTI_GPU)


class SpreadTrainer(trainer._LeanTrainer):
    def train(self, *args, **kwargs):
        result = super().train(*args, **kwargs)
        assert self.is_fsdp_enabled
        name = type(self.model).__name__
        sys.stdout.write(f"{dist.get_world_size()} processes spread a {name}\n")
        return result


trainer._LeanTrainer = SpreadTrainer  # type: ignore[misc]

if __name__ == "__main__":
    dist.init_process_group("gloo")
    worker.main(Path(sys.argv[1]))
