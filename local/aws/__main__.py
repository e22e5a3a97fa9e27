"""``python -m local.aws --port P --state DIR``: a local AWS, one endpoint for all services."""

from __future__ import annotations

import argparse
import logging
import os
import socket
import sys

from include.web_guard import WebGuard
from local.aws.context import ACCOUNT, Context, Options
from local.credentials import CredentialsError
from local.serving import ListenError, add_options, credentials_of, guard_of, listen, stoppable

# moto reads these when it is imported: the one account, addresses without the bucket in the host name, and no
# CORS headers, which S3 gives only where a bucket asks for them.
os.environ["MOTO_ACCOUNT_ID"] = ACCOUNT
os.environ["S3_IGNORE_SUBDOMAIN_BUCKETNAME"] = "true"
os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"

log = logging.getLogger("local.aws")


def main(arguments: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m local.aws", description=__doc__)
    add_options(parser)
    parser.add_argument("--trino-url", help="the Trino behind Athena; without it Athena rejects requests")
    parser.add_argument("--transform-jobs", type=int, default=4, help="limit of transform jobs at one time")
    parser.add_argument("--warm-seconds", type=float, default=30.0, help="how long idle model servers stay")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")

    try:
        credentials = credentials_of(given)
        listener, endpoint = listen(given.host, given.port)
    except (ListenError, CredentialsError) as error:
        print(error, file=sys.stderr)
        return 1
    given.state.mkdir(parents=True, exist_ok=True)
    context = Context(
        state=given.state.resolve(),
        endpoint=endpoint,
        credentials=credentials,
        options=Options(
            trino_url=given.trino_url,
            transform_jobs=given.transform_jobs,
            warm_seconds=given.warm_seconds,
        ),
    )
    return serve(context, listener, guard_of(given))


def serve(context: Context, listener: socket.socket, guard: WebGuard) -> int:
    """Restores the state, installs the extensions and serves on the bound socket until a signal comes."""
    from local.aws import firehose, firehose_faults, glue, quicksight, sagemaker, sagemaker_endpoints
    from local.aws.server import Application, gated
    from local.aws.state import State, StateError

    state = State(context.state)
    context.changed = state.save
    glue.install(context)
    firehose.install(context)
    sagemaker.install(context)
    sagemaker_endpoints.install(context)
    quicksight.install(context)
    if context.options.trino_url:
        from local.aws import athena

        athena.install(context)
    try:
        state.restore()
    except StateError as error:
        print(error, file=sys.stderr)
        return 1
    application = Application(state, context)
    gate = gated(firehose_faults.controlled(application), context.credentials, guard)
    server = stoppable(gate, date_header=False, server_header=False)
    state.start()
    context.start()
    print(f"local AWS at {context.endpoint}", flush=True)
    server.run(sockets=[listener])
    application.close()
    context.close()
    state.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
