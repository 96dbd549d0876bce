"""Several processes that train one model: who they are, what each computes, what they tell.

`torchrun` starts them. Each draws its own images of a batch, with the chance that their places in
it have, and the gradients are summed, so that a step is what one process would make of the whole.
"""

from __future__ import annotations

import io
import json
import os
import platform
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as group
import torch.nn.functional as F
from torch import Tensor

from scalewise.errors import ScalewiseError, UsageError

TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""Variables by which a launcher tells a process which one it is, and where the first listens."""

JOINING = timedelta(minutes=10)
"""How long processes wait for each other to start."""

T = TypeVar("T")

_part: tuple[tuple[int, ...], int] | None = None
"""Places in a batch of what this process computes at the moment, and how many there are in all."""


class ElsewhereError(ScalewiseError):
    """Another process of the run failed, and says why; this one ends without a word.

    Args:
        message: what that process says.
        exit_code: with which it ends.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def rank() -> int:
    """Number of this process, from 0."""
    return group.get_rank() if group.is_initialized() else 0


def count() -> int:
    """How many processes train together."""
    return group.get_world_size() if group.is_initialized() else 1


def launch() -> str | None:
    """What tells the launcher of this process from others: the same when it starts them again."""
    given = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{os.getppid()} of {platform.node()}" if given == "none" else given


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Belong to the processes that a launcher started, and leave them at the end of good work.

    Args:
        device: where this process is to compute; of several GPUs each takes the one of its number.

    Yields:
        The device of this process.

    Raises:
        UsageError: the variables of a launcher are there in part, or make no sense, or processes
            would share a GPU.
        ScalewiseError: the others cannot be reached, or are gone.
    """
    found = _launched()
    if found["WORLD_SIZE"] == 1:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", found["LOCAL_RANK"] % torch.cuda.device_count())
        torch.cuda.set_device(device)
    try:
        _gather(found["RANK"], found["WORLD_SIZE"], device)
    except (RuntimeError, ValueError) as error:
        raise ScalewiseError(
            f"process {found['RANK']} cannot join the others at {os.environ['MASTER_ADDR']}:"
            f"{os.environ['MASTER_PORT']} ({_first_line(error)}); see that torchrun runs on every "
            "machine, and that they reach each other"
        ) from error
    _check_apart(device)
    yield device
    group.destroy_process_group()  # not after an error: the others may be gone, and it waits


def _launched() -> dict[str, int]:
    """What a launcher told: number of this process, of all, and on this machine."""
    numbers = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}
    given = {name: os.environ[name] for name in TOLD if name in os.environ}
    if given.get("WORLD_SIZE", "1") == "1" and given.get("RANK", "0") == "0":
        return numbers
    missing = [name for name in TOLD if name not in given]
    if missing:
        told = ", ".join(f"{name}={value}" for name, value in given.items())
        raise UsageError(
            f"{told} is set, and {', '.join(missing)} not: no launcher started this process. Start "
            "it by torchrun (torchrun --nproc-per-node 2 -m -- scalewise train ...), or unset them "
            "to train in one process"
        )
    for name in numbers:
        if not given[name].isdigit():
            raise UsageError(f"{name} must be a number from 0, found {given[name]!r}")
        numbers[name] = int(given[name])
    if numbers["RANK"] >= numbers["WORLD_SIZE"]:
        raise UsageError(
            f"RANK is {numbers['RANK']}, but of WORLD_SIZE={numbers['WORLD_SIZE']} processes the "
            f"last is {numbers['WORLD_SIZE'] - 1}; start them by torchrun"
        )
    return numbers


def _gather(number: int, of: int, device: torch.device) -> None:
    """Form the group: of those who are here now, where a launcher started some of them again."""
    served = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # by the launcher
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    first = number == 0 and not served
    stores: Any = group  # which does not say what types they are
    store = stores.TCPStore(address, port, is_master=first, timeout=JOINING, wait_for_workers=False)
    apart = stores.PrefixStore(_meeting(store, number, of), store)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    group.init_process_group(backend, store=apart, rank=number, world_size=of)


def _check_apart(device: torch.device) -> None:
    """Refuse two processes on one GPU, of which NCCL would only say that its usage is invalid."""
    mine = ""
    if device.type == "cuda":
        mine = f"{platform.node()} {torch.cuda.get_device_properties(device).uuid}"
    each = _gathered(mine)
    for number, theirs in enumerate(each):
        first = each.index(theirs)
        if theirs and first < number:
            words = (
                f"processes {first} and {number} would compute on one GPU of "
                f"{theirs.split()[0]}; start no more processes on a machine than it has GPUs, or "
                "give --device cpu"
            )
            raise UsageError(words) if rank() == 0 else ElsewhereError(words, 2)


def _meeting(store: Any, number: int, of: int) -> str:
    """A name for this meeting of the processes, on which all of them agreed.

    The store of a launcher outlives the processes that it starts again, and holds addresses of
    those that are gone. So each process signs in by a name of its own; the first calls out the
    names that it sees, as long as not all of them answer.
    """
    mine, deadline = secrets.token_hex(8), time.monotonic() + JOINING.total_seconds()
    store.set(f"here/{number}", mine)
    while time.monotonic() < deadline:
        signed = [f"here/{each}" for each in range(of)]
        if number == 0 and store.check(signed):
            store.set("called", " ".join(store.get(name).decode() for name in signed))
        called = store.get("called").decode() if store.check(["called"]) else ""
        if mine in called.split():
            store.set(f"{called}/{number}", "heard")
            heard = [f"{called}/{each}" for each in range(of)]
            if number == 0 and store.check(heard):
                store.set(f"{called}/all", "heard")
            if store.check([f"{called}/all"]):
                return called
        time.sleep(0.05)
    raise RuntimeError(f"not all {of} came within {JOINING}")


# What is told between processes


def from_first(make: Callable[[], T]) -> T:
    """What the first process makes, told to all.

    Args:
        make: of tensors and plain values; called in the first process alone.

    Raises:
        ScalewiseError: as it was raised there; elsewhere as an `ElsewhereError`.
    """
    if count() == 1:
        return make()
    failure, told = None, dict[str, Any]()
    if rank() == 0:
        try:
            told = {"made": make()}
        except ScalewiseError as error:
            failure, told = error, {"failed": str(error), "code": error.exit_code}
    told = _broadcast(told)
    if failure is not None:
        raise failure
    if "failed" in told:
        raise ElsewhereError(told["failed"], told["code"])
    made: T = told["made"]
    return made


def agreed(make: Callable[[], T]) -> T:
    """What each process makes for itself, once it is known that none of them failed.

    Raises:
        ScalewiseError: as it was raised in the first that failed; elsewhere an `ElsewhereError`.
    """
    if count() == 1:
        return make()
    failure, made = None, list[T]()
    try:
        made.append(make())
    except ScalewiseError as error:
        failure = error
    said = _gathered("" if failure is None else str(failure) or "failed")
    if not any(said):
        return made[0]
    first = next(number for number, text in enumerate(said) if text)
    if failure is not None and first == rank():
        raise failure
    raise ElsewhereError(said[first], 1 if failure is None else failure.exit_code)


def check_same(facts: Mapping[str, str]) -> None:
    """Refuse processes that were started with different things.

    Args:
        facts: what must be the same everywhere, by what it is called.

    Raises:
        UsageError: something differs; told by the first process.
    """
    if count() == 1:
        return
    each = [json.loads(text) for text in _gathered(json.dumps(facts))]
    for number, theirs in enumerate(each):
        for name in sorted({*each[0], *theirs}):
            found, ours = theirs.get(name, "none"), each[0].get(name, "none")
            if found != ours:
                words = (
                    f"process {number} has another {name} than process 0: {found}, not {ours}; "
                    "start all with the same"
                )
                raise UsageError(words) if rank() == 0 else ElsewhereError(words, 2)


def first_number(value: float) -> float:
    """The first process's number, of all that each may find otherwise: a clock, a loss.

    As all that is told, it goes from CPU to CPU (gloo), also where gradients do not (NCCL).
    """
    if count() == 1:
        return value
    told = torch.tensor(value, dtype=torch.float64)
    _together(lambda: group.broadcast(told, 0))
    return float(told)


def _broadcast(told: dict[str, Any]) -> dict[str, Any]:
    """Plain values and tensors of the first process; nothing in them is executed."""
    file = io.BytesIO()
    if rank() == 0:
        torch.save(told, file)
    length = int(first_number(len(file.getvalue())))
    content = torch.zeros(length, dtype=torch.uint8)
    if rank() == 0:
        content = torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
    _together(lambda: group.broadcast(content, 0))
    found: dict[str, Any] = torch.load(io.BytesIO(content.numpy().tobytes()), weights_only=True)
    return found


def _gathered(text: str) -> list[str]:
    """What each process says, in the order of their numbers."""
    said = torch.frombuffer(bytearray(text.encode() or b"\0"), dtype=torch.uint8)
    lengths = [torch.zeros((), dtype=torch.int64) for _ in range(count())]
    _together(lambda: group.all_gather(lengths, torch.tensor(len(said))))
    longest = int(max(lengths))
    each = [torch.zeros(longest, dtype=torch.uint8) for _ in range(count())]
    padded = F.pad(said, (0, longest - len(said)))
    _together(lambda: group.all_gather(each, padded))
    return [part.numpy().tobytes().rstrip(b"\0").decode() for part in each]


def _together(call: Callable[[], object]) -> None:
    """Wait for the other processes; where one is gone, say so in the first that is left."""
    try:
        call()
    except RuntimeError as error:
        words = (
            f"another process of the run is gone ({_first_line(error)}); go on with --resume, or "
            "let the launcher do so: torchrun --max-restarts 3 ..."
        )
        raise (ScalewiseError(words) if rank() == 0 else ElsewhereError(words)) from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


# What each process computes


def places(batch: int) -> tuple[int, ...]:
    """Places in a batch of so many that this process computes: every `count()`-th.

    Examples:
        >>> from scalewise import processes
        >>> processes.places(5)  # one process takes all
        (0, 1, 2, 3, 4)
    """
    return tuple(range(rank(), batch, count()))


@contextmanager
def part(places: tuple[int, ...], of: int) -> Iterator[None]:
    """Networks see these places of a batch, within: what they make of batches is whole."""
    global _part
    before, _part = _part, (places, of) if len(places) < of else None
    try:
        yield
    finally:
        _part = before


def in_parts() -> bool:
    """Whether what a network sees is a part of a batch."""
    return _part is not None


def dropout(features: Tensor, share: float) -> Tensor:
    """Leave out a share of features (N, C, H, W): what one process would of the whole batch."""
    if _part is None or share == 0:
        return F.dropout(features, share)
    places, whole = _part
    kept = features.new_ones((whole, *features.shape[1:]))
    if features.is_contiguous(memory_format=torch.channels_last):
        kept = kept.contiguous(memory_format=torch.channels_last)
    return features * F.dropout(kept, share)[list(places)]


def summed(numbers: Tensor) -> Tensor:
    """The sum over all processes, of any shape."""
    if count() == 1:
        return numbers
    sums = numbers.detach().clone().contiguous()
    _together(lambda: group.all_reduce(sums))
    return sums


def mean_of_rows(rows: Tensor) -> tuple[Tensor, int]:
    """Mean over the rows (N, ...) of a batch, also where it is in parts, and how many it has."""
    sums, of = rows.sum(dim=0), len(rows)
    if in_parts():
        sums = summed(torch.cat([sums.flatten(), sums.new_tensor([of])]))
        sums, of = sums[:-1].view(rows.shape[1:]), int(sums[-1])
    return sums / of, of


def backward(loss: Tensor, parameters: Iterable[torch.nn.Parameter]) -> Tensor:
    """Gradients of the sum of all processes' losses, left in every process.

    Args:
        loss: this process's part of the loss, shape (); without a gradient where it has no part.
        parameters: whose gradients are None or zero before.

    Returns:
        The sum of the losses.
    """
    if loss.requires_grad:
        loss.backward()
    if count() == 1:
        return loss.detach()
    weights = list(parameters)
    kind = max((weight.dtype for weight in weights), key=lambda dtype: dtype.itemsize)
    used = torch.tensor([float(weight.grad is not None) for weight in weights])
    grads = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
    parts = [loss.detach().view(1), used.to(loss.device)]
    sums = summed(torch.cat([part.to(kind) for part in (*parts, *map(torch.flatten, grads))]))
    whole, used, sums = sums.split([1, len(weights), len(sums) - 1 - len(weights)])
    each = sums.split([grad.numel() for grad in grads])
    for weight, grad, anywhere, found in zip(weights, grads, used.tolist(), each, strict=True):
        weight.grad = grad.copy_(found.view(grad.shape)) if anywhere else None
    return whole[0]
