"""What happens elsewhere: buses that carry messages, and the messages that concern load balancers.

The buses know nothing of load balancing; `messages` alone does. `kafka` needs the extra of that name, and is imported
by its own name.
"""

from bascule.events.in_process import InProcessBus
from bascule.events.interface import Bus, Source, Topic
from bascule.events.metrics import EventCounters

__all__ = ["Bus", "EventCounters", "InProcessBus", "Source", "Topic"]
