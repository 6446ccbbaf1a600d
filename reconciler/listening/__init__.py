"""What both ports share: connections of strangers, from their first byte to a request that an application may see.

Nothing here knows what is asked for. The parts: `head` and `framing` say what a request is and where it ends, without
I/O; `connection` bounds what a client may send and for how long; `hosts` and `proxies` say under which name and from
where it came; `listener` serves an application on a socket.
"""

from reconciler.listening.door import Door, DoorLimits
from reconciler.listening.hosts import Hosts
from reconciler.listening.listener import Listener
from reconciler.listening.proxies import Network, Proxies
from reconciler.listening.turns import Pace

__all__ = ["Door", "DoorLimits", "Hosts", "Listener", "Network", "Pace", "Proxies"]
