"""Which engine of a pool an instance goes to: pure, from what is offered and what is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deployments.runtimes import InstanceSpec
from deployments.runtimes.endings import cores_in_words, in_words


@dataclass(frozen=True)
class Share:
    """What our instances may have of an engine together."""

    most_cores: float | None = None
    most_memory_bytes: int | None = None
    """What its machine has where None; a figure above that over-commits, which is the operator's choice."""
    is_schedulable: bool = True
    """Whether new instances may go there."""

    def cores(self, has: float) -> float:
        return has if self.most_cores is None else self.most_cores

    def memory_bytes(self, has: int) -> int:
        return has if self.most_memory_bytes is None else self.most_memory_bytes


@dataclass(frozen=True)
class Room:
    """What our instances may have of one engine, and what they hold."""

    name: str
    cores: float
    memory_bytes: int
    taken_cores: float = 0.0
    taken_memory_bytes: int = 0
    others_cores: float = 0.0
    others_memory_bytes: int = 0
    """Of what is taken: by deployments of this installation that run there without this pool."""
    has_gpus: bool = False

    @property
    def free_cores(self) -> float:
        return max(0.0, self.cores - self.taken_cores)

    @property
    def free_memory_bytes(self) -> int:
        return max(0, self.memory_bytes - self.taken_memory_bytes)

    def fits(self, spec: InstanceSpec) -> bool:
        return (
            # Figures of labels are rounded.
            self.free_cores + 1e-6 >= spec.cpu_cores
            and self.free_memory_bytes >= spec.memory_bytes
        )

    def is_large_enough(self, spec: InstanceSpec) -> bool:
        """If nothing were taken."""
        return self.cores + 1e-6 >= spec.cpu_cores and self.memory_bytes >= spec.memory_bytes


def choose(rooms: list[Room], spec: InstanceSpec) -> Room | None:
    """The one with the most left over afterwards, by its scarcer share; None when it fits nowhere."""
    fitting = [room for room in rooms if room.fits(spec)]

    def left_over(room: Room) -> float:
        cores = (room.free_cores - spec.cpu_cores) / max(room.cores, 0.01)
        memory = (room.free_memory_bytes - spec.memory_bytes) / max(room.memory_bytes, 1)
        return min(cores, memory)

    return max(fitting, key=left_over, default=None)


def why_not(
    rooms: list[Room], spec: InstanceSpec, *, compute: str = "", closed: Sequence[str] = ()
) -> str:
    """The sentence for an instance that fits nowhere; `closed` names engines that take no new ones."""
    wanted = f"{cores_in_words(spec.cpu_cores)} and {in_words(spec.memory_bytes)}"
    shut = [f"{name} is closed for new instances" for name in closed]
    if rooms and not any(room.is_large_enough(spec) for room in rooms):
        largest = max(rooms, key=lambda room: _share_of(room, spec))
        has = f"{cores_in_words(largest.cores)} and {in_words(largest.memory_bytes)} in all"
        what = "; ".join([f"the largest, {largest.name}, has {has}", *shut])
        return (
            f"No engine{of(compute)} is large enough for {wanted}: {what}. Choose a smaller instance type, or "
            f"{more_room(compute)}."
        )
    free = "; ".join([*(_free(room, compute) for room in rooms), *shut])
    return (
        f"No engine{of(compute)} has room for {wanted}: {free or 'none answers'}. Choose a smaller instance type, "
        f"fewer instances, or {more_room(compute)}."
    )


def _share_of(room: Room, spec: InstanceSpec) -> float:
    """How much of what is asked for the whole engine would cover, by its scarcer share."""
    return min(
        room.cores / max(spec.cpu_cores, 0.01), room.memory_bytes / max(spec.memory_bytes, 1)
    )


def _free(room: Room, compute: str) -> str:
    words = (
        f"{room.name} has {room.free_cores:g} of {cores_in_words(room.cores)} and "
        f"{in_words(room.free_memory_bytes)} of {in_words(room.memory_bytes)} free"
    )
    if not room.others_cores and not room.others_memory_bytes:
        return words
    where = "outside the compute" if compute else "on attached computes"
    held = f"{cores_in_words(room.others_cores)} and {in_words(room.others_memory_bytes)}"
    return f"{words} (deployments of this installation {where} hold {held})"


def of(compute: str) -> str:
    return f" of compute '{compute}'" if compute else ""


def more_room(compute: str) -> str:
    """What an operator does about it."""
    if compute:
        return f"have an administrator add an engine to compute '{compute}' or raise the limits of one"
    return "add an engine to PORTICO_DOCKER_ENGINES"
