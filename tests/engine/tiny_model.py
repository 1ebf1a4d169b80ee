"""A Llama of a quarter of a million random weights, and a LoRA adapter for it, written to folders. Run by the engine's Python:

    .venv-engine/bin/python tests/engine/tiny_model.py MODEL_FOLDER ADAPTER_FOLDER

It knows nothing. Its output layer leans a little towards a few tokens, so that texts end, some state an answer, and
verdicts under a JSON schema fall both ways. The tokenizer is trained on the prompts, to keep them short. No downloads.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

PROMPTS = Path(__file__).resolve().parents[2] / "apps" / "pipeline" / "prompts"
CONTEXT = 4096
HIDDEN, LAYERS, HEADS, KV_HEADS, RANK = 64, 2, 2, 1, 8
VOCABULARY = 1600
END = "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
ANSWERS = tuple(f"\nFinal answer: {letter}" for letter in "ABCD")
LEANING = {END: 4.6, '"': 4.8, "pass": 3.8, "fail": 1.5, "Correct": 3.2, "Error": 1.8, **dict.fromkeys(ANSWERS, 4.0)}
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}" + END + "\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def write_model(folder: Path) -> None:
    tokenizer = make_tokenizer()
    torch.manual_seed(20260101)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        lean(model, tokenizer)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def make_tokenizer() -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    texts = [path.read_text(encoding="utf-8") for path in sorted(PROMPTS.glob("*.txt"))]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    )
    bpe.add_tokens([AddedToken(word, normalized=False) for word in LEANING if word != END])
    bpe.add_special_tokens([END, *ROLES])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=END, pad_token=END, chat_template=CHAT)


def lean(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """One coordinate is the same for every token; the output rows of the leaning tokens listen to it."""
    constant = 3.0
    embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
    embedding.normal_(0, 1)
    embedding[:, 0] = constant
    head.normal_(0, 0.15)
    head[:, 0] = 0
    seen = constant / ((HIDDEN - 1 + constant**2) / HIDDEN) ** 0.5  # after the norm
    for word, weight in LEANING.items():
        head[tokenizer.convert_tokens_to_ids(word), 0] = weight / seen
    for word in ROLES:
        head[tokenizer.convert_tokens_to_ids(word), 0] = -30


def write_adapter(folder: Path, base: Path) -> None:
    """PEFT's format, by hand: random A and B for the attention's projections."""
    torch.manual_seed(7)
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"q_proj": HIDDEN, "v_proj": KV_HEADS * HIDDEN // HEADS, "o_proj": HIDDEN}
    weights = {
        f"base_model.model.model.layers.{layer}.self_attn.{name}.lora_{part}.weight": torch.randn(shape)
        for layer in range(LAYERS)
        for name, size in sizes.items()
        for part, shape in (("A", (RANK, HIDDEN)), ("B", (size, RANK)))
    }
    save_file(weights, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base),
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(sizes),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2))


if __name__ == "__main__":
    model_folder, adapter_folder = (Path(word) for word in sys.argv[1:])
    write_model(model_folder)
    write_adapter(adapter_folder, model_folder)
