"""`python -m serving.server`: the command line of `tensorflow_model_server`."""

from __future__ import annotations

import logging.config
import os
import signal
import sys

from common.logs import FORMATS, LEVELS, configuration
from serving.server.config import Files
from serving.server.flags import FAILED, from_command_line, validate
from serving.server.listen import check_ports
from serving.server.status import StatusError, invalid_argument


def main() -> int:
    options = from_command_line("serving.server", sys.argv[1:])
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))  # until the event loop takes over: nothing is served yet
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        _start_log()
        validate(options)
        files = Files.read(options)
        check_ports(options)
        # TensorFlow would import it, slowly and with a warning, to find clusters in Google's cloud
        sys.modules.setdefault("googleapiclient", None)  # type: ignore[arg-type]
        import uvloop

        from serving.server.app import serve

        uvloop.run(serve(options, files))
    except StatusError as error:
        print(f"Failed to start server. Error: {error.code.name}: {error.message}", flush=True)
        return FAILED
    return 0


def _start_log() -> None:
    """Log as the web app does. Raises StatusError for a word that means nothing."""
    level, log_format = os.environ.get("VOUCH_LOG_LEVEL", "INFO"), os.environ.get("VOUCH_LOG_FORMAT", "text")
    for name, word, words in (("LEVEL", level, LEVELS), ("FORMAT", log_format, FORMATS)):
        if word not in words:
            raise invalid_argument(f"VOUCH_LOG_{name} is {word!r}; wanted one of {', '.join(words)}")
    logging.config.dictConfig(configuration(level, log_format))
    for noisy in ("uvicorn.error", "tensorflow", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # TensorFlow takes seconds to tear itself down, and nothing is left to be saved
