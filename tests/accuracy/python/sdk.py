"""A service on Flask and requests, both instrumented by OpenTelemetry's SDK as its documentation says. The SDK's spans go to the
file that SPANS names, one JSON object per line."""

import json
import os
import threading
import time
from urllib.parse import urlsplit

import requests
import shape
from flask import Flask, Response
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult


class FileExporter(SpanExporter):
    def __init__(self, path):
        self.file = open(path, "a", buffering=1)
        self.lock = threading.Lock()

    def export(self, spans):
        for span in spans:
            attributes = span.attributes
            url = attributes.get("url.full") or attributes.get("http.url") or attributes.get("http.target")
            line = {
                "traceId": f"{span.context.trace_id:032x}",
                "spanId": f"{span.context.span_id:016x}",
                "kind": span.kind.name,
                "path": urlsplit(url).path,
                "pid": os.getpid(),
            }
            with self.lock:
                self.file.write(json.dumps(line) + "\n")
        return SpanExportResult.SUCCESS


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(FileExporter(os.environ["SPANS"])))
trace.set_tracer_provider(provider)

app = Flask(__name__)
FlaskInstrumentor().instrument_app(app)
RequestsInstrumentor().instrument()
SESSION = requests.Session()
SESSION.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=shape.POOL or 512, pool_block=shape.POOL > 0))


def call(base, position):
    response = SESSION.get(f"{base}{position}")
    if response.status_code == 503:
        response = SESSION.get(f"{base}{position + 5}")
    response.raise_for_status()
    return int(response.text)


@app.get("/<service>/<int:number>/<int:position>")
def serve(service, number, position):
    time.sleep(shape.delay(number, position))
    if shape.refused(number, position):
        return Response("0", 503)
    served = 1
    for first, calls in shape.groups(number, position):
        time.sleep(shape.think(number, first))
        served += sum(call(*c) for c in calls)
    return str(served)


if __name__ == "__main__":
    from werkzeug.serving import WSGIRequestHandler

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_request(self, *args):
            pass

    app.run(os.environ["HOST"], int(os.environ["PORT"]), threaded=True, request_handler=Handler)
