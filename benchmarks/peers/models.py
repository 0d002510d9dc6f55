"""The shapes of `fulcrum bench --shape` as models of transformers, and the rows that it makes.

    python models.py --shape gpt2-30m --head classifier --out DIR

writes one with random weights in the Hugging Face layout, for `--model DIR` of both sides.
"""

import argparse
import json
from pathlib import Path

SHAPES = Path(__file__).resolve().parents[2] / "common/src/bench/shapes"


def config(shape):
    """The configuration of a shape."""
    import transformers

    text = json.loads((SHAPES / f"{shape}.json").read_text())
    return transformers.AutoConfig.for_model(**text)


def kind(head):
    """The class of transformers that ends in that head."""
    import transformers

    heads = {
        "classifier": transformers.AutoModelForSequenceClassification,
        "lm": transformers.AutoModelForCausalLM,
    }
    return heads[head]


def make(shape, head):
    """A model of a shape with seeded random weights."""
    import torch

    torch.manual_seed(0)
    return kind(head).from_config(config(shape))


def read(folder, head):
    """A checkpoint in f32 without dropout, which the other side has none of either."""
    import torch

    model = kind(head).from_pretrained(folder, torch_dtype=torch.float32)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def split_mix(seed, index):
    """The `index`-th numbers of SplitMix64 from a seed (Steele et al. 2014, figure 1)."""
    import numpy

    with numpy.errstate(over="ignore"):
        z = numpy.uint64(seed) + numpy.uint64(0x9E3779B97F4A7C15) * (index.astype(numpy.uint64) + numpy.uint64(1))
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        return z ^ (z >> numpy.uint64(31))


def rows(first, count, seq, vocabulary, seed):
    """Token ids `[count, seq]` and classes `[count]` of rows `first` to `first + count`."""
    import numpy
    import torch

    places = numpy.arange(first * seq, (first + count) * seq)
    ids = 1 + split_mix(seed, places) % numpy.uint64(vocabulary - 1)
    classes = split_mix(seed ^ 1, numpy.arange(first, first + count)) >> numpy.uint64(63)
    ids = torch.from_numpy(ids.astype(numpy.int64)).view(count, seq)
    return ids, torch.from_numpy(classes.astype(numpy.int64))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", required=True)
    parser.add_argument("--head", choices=["classifier", "lm"], default="classifier")
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    make(arguments.shape, arguments.head).save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
