"""A client of the agents in another language, with nothing but Debian's python3-grpcio: no generated code, so messages go as bytes.

    stranger.py ADDRESS CA [KEY CERT] -- unary|stream|held METHOD REQUEST [TIMEOUT-S]

The request is in hex, or `zeros:COUNT`. Writes lines of JSON: each answer in hex, then {"code": …} and, if the call failed, what the agent says about why.
`held` starts a unary call, says so, and cancels it when its standard input ends; `stream` hangs up then, if it still goes on.
"""

import json
import sys
import threading

import grpc


def say(**what):
    print(json.dumps(what), flush=True)


def fields(message):
    """The fields of a protobuf message that hold bytes: (number, bytes), and numbers: (number, int)."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        elif tag & 7 == 2:
            length = varint()
            yield tag >> 3, message[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {tag & 7} is not used here")


def error_info(status):
    """google.rpc.Status { details = 3: Any { type_url = 1, value = 2: ErrorInfo { reason = 1, domain = 2, metadata = 3 } } }"""
    for detail in (dict(fields(value)) for number, value in fields(status) if number == 3):
        if detail[1] != b"type.googleapis.com/google.rpc.ErrorInfo":
            continue
        info = list(fields(detail[2]))
        pairs = [dict(fields(value)) for number, value in info if number == 3]
        texts = {number: value.decode() for number, value in info if number != 3}
        return {
            "reason": texts.get(1),
            "domain": texts.get(2),
            "metadata": {pair[1].decode(): pair[2].decode() for pair in pairs},
        }
    return None


def say_failure(error):
    trailers = dict(error.trailing_metadata() or ())
    status = trailers.get("grpc-status-details-bin")
    say(code=error.code().name, message=error.details(), info=status and error_info(status))


def on_end_of_input(act):
    def wait():
        sys.stdin.read()
        act()

    threading.Thread(target=wait, daemon=True).start()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def main(argv):
    separator = argv.index("--")
    address, ca, *own = argv[:separator]
    how, method, given, *rest = argv[separator + 1 :]
    request = bytes(int(given[6:])) if given.startswith("zeros:") else bytes.fromhex(given)
    timeout = float(rest[0]) if rest else None
    key, certificate = (read(path) for path in own) if own else (None, None)
    credentials = grpc.ssl_channel_credentials(read(ca), key, certificate)
    as_is = {"request_serializer": bytes, "response_deserializer": bytes}
    with grpc.secure_channel(address, credentials) as channel:
        try:
            if how == "stream":
                call = channel.unary_stream(method, **as_is)(request, timeout=timeout)
                on_end_of_input(call.cancel)
                for answer in call:
                    say(answer=answer.hex())
            else:
                call = channel.unary_unary(method, **as_is).future(request, timeout=timeout)
                if how == "held":
                    say(started=True)
                    on_end_of_input(call.cancel)
                say(answer=call.result().hex())
            say(code="OK")
        except grpc.FutureCancelledError:
            say(code=call.code().name)
        except grpc.RpcError as error:
            say_failure(error)


main(sys.argv[1:])
