"""Hold JSON on standard input (one document, or one a line) against the schema file argv[1]."""
import json
import sys

import jsonschema


def documents(text):
    decoder = json.JSONDecoder()
    at = 0
    while True:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text):
            return
        value, at = decoder.raw_decode(text, at)
        yield value


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        schema = json.load(f)
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    count = 0
    for value in documents(sys.stdin.read()):
        count += 1
        for error in validator(schema).iter_errors(value):
            sys.exit("%s: %s" % ("/".join(map(str, error.absolute_path)) or "(whole)", error.message))
    if not count:
        sys.exit("no JSON on standard input")


main()
