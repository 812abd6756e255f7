import threading

import ua_parser

from .client_info import ClientInfo

# the first call loads the patterns, which takes seconds: concurrent first calls must not each do so
_lock = threading.Lock()


def describe_device(client: ClientInfo) -> str:
    """Browser and system, such as "Firefox on Linux"; "" if neither is known."""
    with _lock:
        agent = ua_parser.parse(client.user_agent)
    browser = agent.user_agent.family if agent.user_agent else ""
    system = agent.os.family if agent.os else ""
    return (f"{browser} on {system}" if browser and system else browser or system)[:100]
