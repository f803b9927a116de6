"""The four forms of a wish, and how the studio shows them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from portal.studio.as_code.place import Place, set_up

REST_ALONE = "# The SDK and `az ml` have no operation for this: it is done over REST alone.\n"


@dataclass(frozen=True)
class Forms:
    """The same wish in four languages; a form is empty where Azure has none for it."""

    rest: str
    yaml: Mapping[str, str]
    """File name → text."""
    cli: str = ""
    python: str = ""

    def samples(self, place: Place) -> list[dict[str, str]]:
        """What `<c-code>` shows, with what must be said once per shell at the end."""
        shown = [
            {"language": name.removesuffix(".yml"), "label": name, "text": text}
            for name, text in self.yaml.items()
        ]
        has_others = self.cli or self.python
        others = (
            ("cli", "CLI", self.cli),
            ("python", "Python", self.python),
            ("rest", "REST", self.rest if has_others else f"{REST_ALONE}{self.rest}"),
            ("set-up", "Set-up", set_up(place)),
        )
        return shown + [
            {"language": language, "label": label, "text": text}
            for language, label, text in others
            if text
        ]
