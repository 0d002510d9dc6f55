"""Writes the corpus of the fuzz targets: python3 tests/fuzz/corpus/make.py. Names begin with what must come of a file."""

import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent


def put(target, name, data):
    folder = HERE / target
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def tensors(entries, data, metadata=None):
    """A safetensors file; entries are (name, dtype, shape, begin, end)."""
    header = {"__metadata__": metadata} if metadata else {}
    for name, dtype, shape, begin, end in entries:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    return prefixed(json.dumps(header)) + data


def prefixed(text, length=None):
    text = text.encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


good = tensors([("a", "F32", [2, 3], 0, 24), ("b", "BF16", [4], 24, 32)], bytes(32), {"format": "pt"})
put("header", "good-two-tensors", good)
put("header", "good-nothing", tensors([], b""))
put("header", "good-empty-and-scalar", tensors([("e", "F64", [0, 7], 0, 0), ("s", "I64", [], 0, 8)], bytes(8)))
put("header", "bad-cut-in-header", good[:40])
put("header", "bad-cut-in-data", good[:-1])
put("header", "bad-too-long", good + b"x")
put("header", "bad-seven-bytes", good[:7])
put("header", "bad-length-of-everything", b"\xff" * 16)
put("header", "bad-length-beyond-file", prefixed("{}", 1 << 40))
put("header", "bad-overlap", tensors([("a", "F32", [2], 0, 8), ("b", "F32", [2], 4, 12)], bytes(12)))
put("header", "bad-gap", tensors([("a", "F32", [1], 0, 4), ("b", "F32", [1], 8, 12)], bytes(12)))
put("header", "bad-backwards", tensors([("a", "F32", [1], 4, 0)], bytes(4)))
put("header", "bad-product-overflows", tensors([("a", "F32", [1 << 62, 16], 0, 0)], b""))
put("header", "bad-shape-lies", tensors([("a", "F32", [1000], 0, 4)], bytes(4)))
put("header", "bad-kind", tensors([("a", "F33", [1], 0, 4)], bytes(4)))
put("header", "bad-negative-size", prefixed('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}') + bytes(4))
put("header", "bad-deep", prefixed("[" * 2000))
put("header", "bad-no-text", prefixed("") + b"\x80\x81")


def index(weight_map, **others):
    return json.dumps({**others, "weight_map": weight_map})


put("index", "good-two-shards", index({"a": "x-1-of-2.safetensors", "b": "x-2-of-2.safetensors"}))
put("index", "good-nonsense-size", index({"a": "x.safetensors"}, metadata={"total_size": -1e308}))
put("index", "bad-parent", index({"a": "../x.safetensors"}))
put("index", "bad-root", index({"a": "/x.safetensors"}))
put("index", "bad-folder", index({"a": "sub/x.safetensors"}))
put("index", "bad-dots", index({"a": ".."}))
put("index", "bad-nothing", index({"a": ""}))
put("index", "bad-backslash", index({"a": "..\\x.safetensors"}))
put("index", "bad-zero", index({"a": "x\0.safetensors"}))
put("index", "bad-pickle", index({"a": "x.bin"}))
put("index", "bad-twice", '{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}')
put("index", "bad-empty", index({}))
put("index", "bad-cut", '{"weight_map": {"a": "x.safe')
put("index", "bad-deep", "[" * 2000)
put("index", "bad-list", '{"weight_map": ["x.safetensors"]}')

MADE_HERE = """name = "tiny"
recipe = "weak-to-strong"
[task]
source = "builtin:arithmetic"
split = { ground_truth = 40, weak_labels = 40, test = 20 }
[[model]]
name = "small"
layers = 1
hidden = 8
heads = 2
context = 32
[[model]]
name = "large"
layers = 2
hidden = 16
heads = 2
context = 32
"""
FROM_OUTSIDE = """name = "far"
recipe = "weak-to-strong"
[task]
source = "hf:owner/rows@main"
files = ["data/rows.csv"]
text = "{{ text }}"
label = "label"
classes = ["0", "1"]
split = { ground_truth = 4, weak_labels = 4, test = 4 }
[[model]]
name = "small"
from = "hf:owner/model"
layers = 2
[[model]]
name = "large"
from = "folder"
adapter = "adapters"
"""
put("experiment", "good-made-here", MADE_HERE)
put("experiment", "good-from-outside", FROM_OUTSIDE)
put("experiment", "bad-cut", MADE_HERE[:120])
put("experiment", "bad-nothing", "")
put("experiment", "bad-no-text", b"\xff\xfe\x00")
put("experiment", "bad-leaves-folder", FROM_OUTSIDE.replace("data/rows.csv", "../rows.csv"))
put("experiment", "bad-leaves-cache", FROM_OUTSIDE.replace("owner/model", "../../model"))
put("experiment", "bad-name", MADE_HERE.replace('"tiny"', '"../tiny"'))
put("experiment", "bad-sizes", MADE_HERE.replace("= 8", "= 9223372036854775807"))
put("experiment", "bad-below-zero", MADE_HERE.replace("= 40", "= -40"))
put("experiment", "bad-not-a-number", MADE_HERE + "[train]\nlearning_rate = nan\n")
put("experiment", "bad-deep", "a = " + "[" * 2000)
