"""Train a recipe by several processes that Ray starts, in place of torchrun."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
from pathlib import Path
from typing import Any

from mlret.cluster.connection import cause_of, connected, shared_path
from mlret.errors import InputError, MlretError, first_line
from mlret.training.recipe import Recipe

# The other processes wait while the first one reads text and trains the tokenizer.
_LONGEST_WAIT = 12 * 3600


def train_on_ray(recipe: Recipe, data: Path, output: Path, *, address: str, workers: int) -> Path:
    """Train an encoder from a recipe by several processes, each on a processor or a GPU of a cluster.

    It is what :func:`mlret.training.run.train` does under ``torchrun``: ``batch_size`` counts the rows of all processes
    together, and the encoder is that of one process. A run that was stopped resumes when it is called again.

    Parameters
    ----------
    recipe
        What to train.
    data, output
        As for :func:`mlret.training.run.train`; folders that every node reaches under the same path.
    address
        The cluster; see :func:`mlret.cluster.connection.connected`.
    workers
        Number of processes.

    Returns
    -------
    pathlib.Path
        The folder of the trained encoder.

    Raises
    ------
    InputError
        As for :func:`mlret.training.run.train`.
    MlretError
        If a process failed.
    """
    if workers < 1:
        raise InputError(f"--workers {workers}: at least one process trains")
    # Ray changes the folder of its processes otherwise, and relative paths in a recipe would lead nowhere.
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
    with connected(address, feature="training by Ray"):
        import torch
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        folder = tempfile.mkdtemp(prefix="mlret-ray-")
        settings = {
            "recipe": recipe.model_dump(mode="json"),
            "data": str(shared_path(data)),
            "output": str(shared_path(output)),
            "folder": str(Path.cwd()),
        }
        trainer = TorchTrainer(
            _train_in_worker,
            train_loop_config=settings,
            torch_config=TorchConfig(timeout_s=_LONGEST_WAIT),
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=torch.cuda.is_available()),
            run_config=RunConfig(storage_path=folder),
        )
        interrupt = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
        try:
            trainer.fit()
        except Exception as error:
            raise _error_of(error) from error
        finally:
            if interrupt is not None:  # Ray has replaced it.
                signal.signal(signal.SIGINT, interrupt)
            shutil.rmtree(folder, ignore_errors=True)
    return shared_path(output) / "model"


def _train_in_worker(settings: dict[str, Any]) -> None:
    """Train in one of the processes, whose process group Ray has formed."""
    from mlret.training.run import train

    if Path(settings["folder"]).is_dir():
        os.chdir(settings["folder"])
    train(Recipe.model_validate(settings["recipe"]), Path(settings["data"]), Path(settings["output"]), say=print)


def _error_of(error: BaseException) -> MlretError:
    """Return the error of a failed run: that of mlret's own which a process raised, if there is one."""
    own = cause_of(error)
    if own is None:
        for failure in getattr(error, "worker_failures", {}).values():
            own = own or cause_of(failure)
    return own or MlretError(f"a process of the training failed ({first_line(error)})")
