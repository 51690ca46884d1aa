"""A service with OpenTelemetry's SDK, written by hand as its documentation says: `instrumented.py HOST PORT NEXT,COLLECTOR`. It asks the service at port NEXT the same, if
NEXT is not 0, and sends its spans to the Collector's port by OTLP over HTTP, if that is not 0: without, nothing of it knows of traces."""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

host, port, ports = sys.argv[1:]
following, collector = (int(number) for number in ports.split(","))

if collector:
    from opentelemetry import propagate, trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(f"http://127.0.0.1:{collector}/v1/traces")
    provider = TracerProvider(resource=Resource.create({"service.name": "instrumented"}))
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=100))
    tracer = provider.get_tracer("test")


def ask(path, headers):
    with urlopen(Request(f"http://127.0.0.1:{following}{path}", headers=headers)) as answer:
        answer.read()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if not collector:
            if following:
                ask(self.path, {})
        else:
            context = propagate.extract(dict(self.headers))
            with tracer.start_as_current_span("serve", context=context, kind=trace.SpanKind.SERVER):
                if following:
                    with tracer.start_as_current_span("ask", kind=trace.SpanKind.CLIENT):
                        headers = {}
                        propagate.inject(headers)
                        ask(self.path, headers)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
