"""Which engine of a pool an instance goes to: pure, from what is offered and what is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deployments.runtimes import InstanceSpec
from deployments.runtimes.endings import in_words


@dataclass(frozen=True)
class Share:
    """What of an engine's machine our instances may have."""

    most_cores: float | None = None
    most_memory_bytes: int | None = None
    """All of it where None."""
    is_schedulable: bool = True
    """Whether new instances may go there."""

    def cores(self, has: float) -> float:
        return has if self.most_cores is None else min(has, self.most_cores)

    def memory_bytes(self, has: int) -> int:
        return has if self.most_memory_bytes is None else min(has, self.most_memory_bytes)


@dataclass(frozen=True)
class Room:
    """One engine's machine, and what our instances hold of it."""

    name: str
    cores: float
    memory_bytes: int
    taken_cores: float = 0.0
    taken_memory_bytes: int = 0
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
    wanted = f"{spec.cpu_cores:g} cores and {in_words(spec.memory_bytes)}"
    free = "; ".join(
        [
            *(
                f"{room.name} has {room.free_cores:g} of {room.cores:g} cores and "
                f"{in_words(room.free_memory_bytes)} of {in_words(room.memory_bytes)} free"
                for room in rooms
            ),
            *(f"{name} is closed for new instances" for name in closed),
        ]
    )
    return (
        f"No engine{of(compute)} has room for {wanted}: {free or 'none answers'}. Choose a smaller instance type, "
        f"fewer instances, or {more_room(compute)}."
    )


def of(compute: str) -> str:
    return f" of compute '{compute}'" if compute else ""


def more_room(compute: str) -> str:
    """What an operator does about it."""
    if compute:
        return f"have an administrator add an engine to compute '{compute}'"
    return "add an engine to PORTICO_DOCKER_ENGINES"
