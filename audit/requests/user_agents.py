import threading

import ua_parser

from .client_info import ClientInfo

# the first call loads its patterns; of many first ones at once each would, for seconds
_one_at_a_time = threading.Lock()


def describe_device(client: ClientInfo) -> str:
    """What a person would call the client: "Firefox on Linux", "" where nothing is known."""
    with _one_at_a_time:
        found = ua_parser.parse(client.user_agent)
    browser = found.user_agent.family if found.user_agent else ""
    system = found.os.family if found.os else ""
    return (f"{browser} on {system}" if browser and system else browser or system)[:100]
