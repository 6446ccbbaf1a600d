"""Variables that look like settings (`PAI_GATEWAY_LISTN`) but are none: typing errors that nobody would notice.

Only those of our own sections are looked at, so that variables of others are left alone: PAI_KEY, PAI_SECRET_..., what
CI sets. Container platforms describe services by variables of the same form; those are known and passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from reconciler.core.text import nearest
from reconciler.workspace.settings import SETTINGS

OTHERS: Final = frozenset({"PAI_FORGE_TOKEN"})
"""Of our sections, and no setting: what CI gives `pai review`."""
_SERVICE: Final = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")
_SERVICE_URL: Final = re.compile(r"(tcp|udp|sctp)://")
"""What Kubernetes (`enableServiceLinks`) sets for a service `pai-gateway`."""


def unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """Say, a line each, which variables of our sections are no setting, and which one was probably meant."""
    names = {setting.variable for setting in SETTINGS}
    prefixes = tuple({f"PAI_{setting.section.split('.')[0].upper()}_" for setting in SETTINGS})
    for name in sorted(environment):
        if name in names or name in OTHERS or not name.startswith(prefixes):
            continue
        if _SERVICE.search(name) or (name.endswith("_PORT") and _SERVICE_URL.match(environment[name])):
            continue
        close = nearest(name, sorted(names), 0.7)
        section = name.split("_")[1]
        there = ", ".join(sorted(each for each in names if each.startswith(f"PAI_{section}_")))
        hint = f"did you mean {close}?" if close else f"there are {there}"
        yield f"{name} is no setting and is passed over ({hint})"
