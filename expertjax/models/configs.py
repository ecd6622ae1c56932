"""Reading a Hugging Face `config.json`, refusing what is not understood.

A silently ignored attribute is a silently wrong model, so every attribute has
to be taken, pinned to the one value that is implemented, or named as one that
cannot change what a forward pass computes.
"""

from collections.abc import Collection, Mapping
from typing import Any

from expertjax.errors import InputError, join_problems

# Nothing here changes the outputs of a trained model: bookkeeping (of a browser's
# library, too), training settings, generation settings and the heads of other tasks.
_HARMLESS = frozenset(
    """
    _attn_implementation _attn_implementation_autoset _commit_hash _from_model_config
    _name_or_path _num_labels architectures
    attn_implementation auto_map bad_words_ids begin_suppress_tokens bos_token_id
    chunk_size_feed_forward classifier_dropout cross_attention_hidden_size
    decoder_start_token_id directionality diversity_penalty do_sample dtype
    early_stopping encoder_no_repeat_ngram_size eos_token_id
    exponential_decay_length_penalty finetuning_task forced_bos_token_id
    forced_eos_token_id gradient_checkpointing id2label initializer_range
    keys_to_ignore_at_inference label2id length_penalty max_length min_length
    model_type no_repeat_ngram_size num_beam_groups num_beams num_labels
    num_return_sequences output_attentions output_hidden_states output_past
    output_scores pad_token_id pooler_fc_size pooler_num_attention_heads
    pooler_num_fc_layers pooler_size_per_head pooler_type predict_special_tokens
    prefix problem_type remove_invalid_values repetition_penalty return_dict
    return_dict_in_generate sentence_transformers sep_token_id summary_activation
    summary_first_dropout summary_proj_to_labels summary_type summary_use_proj
    suppress_tokens task_specific_params temperature tf_legacy_loss
    tie_encoder_decoder tokenizer_class top_k top_p torch_dtype torchscript
    transformers.js_config transformers_version typical_p use_bfloat16 use_cache
    xla_device

    assistant_confidence_threshold assistant_early_exit cache_config
    cache_implementation compile_config constraints disable_compile dola_layers
    encoder_repetition_penalty epsilon_cutoff eta_cutoff force_words_ids
    forced_decoder_ids guidance_scale is_assistant low_memory max_matching_ngram_size
    max_new_tokens max_time min_new_tokens min_p num_assistant_tokens
    num_assistant_tokens_schedule output_logits penalty_alpha prefill_chunk_size
    prompt_lookup_num_tokens renormalize_logits sequence_bias stop_strings
    target_lookbehind token_healing watermarking_config

    max_seq_length max_sequence_length model_max_length
    """.split()
)
_HARMLESS_PREFIX = "unsloth_"  # a trainer's notes on what it did
_HINTS = {"quantization": "MLX's quantised weights; take what they are made of"}


class ConfigReader:
    """Takes attributes out of a config one by one and reports what is left.

    Attributes:
      keys: the names of the checkpoint's tensors.
      model_type: which of a family's architectures this is.
    """

    def __init__(self, attributes: Mapping[str, Any], keys: Collection[str]) -> None:
        """Wraps one config.

        Args:
          attributes: the content of `config.json`.
          keys: the names of the checkpoint's tensors, for parts (a head, say)
            that only some checkpoints of a family have.
        """
        self.keys = keys
        self.model_type: str = attributes.get("model_type", "")
        self._nested: dict[str, ConfigReader] = {}
        self._left = {
            name: value
            for name, value in attributes.items()
            if name not in _HARMLESS and not name.startswith(_HARMLESS_PREFIX)
        }
        self._attributes = attributes
        self._problems: list[str] = []

    def take(
        self,
        name: str,
        default: Any,
        kind: type | None = None,
        *,
        nullable: bool = False,
    ) -> Any:
        """The attribute's value, or Hugging Face's default.

        Args:
          name: of the attribute.
          default: where the config does not have it.
          kind: bool, int (a size, so at least 1), float or str; that of the
            default unless given.
          nullable: null is a value, and another than the default.
        """
        value = self._left.pop(name, default)
        kind = kind or type(default)
        if value is default or (nullable and value is None):
            return value
        kinds: Any = (int, float) if kind is float else kind
        if not isinstance(value, kinds) or isinstance(value, bool) != (kind is bool):
            problem = f"{name}={value!r} should be of type {kind.__name__}"
        elif kind is int and value < 1:
            problem = f"{name}={value!r} should be at least 1"
        else:
            return value
        self._problems.append(problem)
        return default

    def token_id(self, name: str, default: int, *, nullable: bool = False) -> int:
        """The number of a special token, for families that compute with it.

        Args:
          name: of the attribute.
          default: where the config does not have it.
          nullable: null stands for the default.
        """
        value = self._attributes.get(name, default)
        value = default if nullable and value is None else value
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        self.require(False, f"{name}={value!r} should be the number of a token")
        return default

    def choose(self, name: str, default: str, choices: Collection[str]) -> str:
        """The attribute's value, which must be one of those that are implemented."""
        value = self.take(name, default)
        known = ", ".join(sorted(choices))
        self.require(value in choices, f"{name}={value!r} is not known; known: {known}")
        return value

    def only(self, name: str, *values: Any) -> None:
        """The attribute must be absent or have one of the implemented values.

        Null is as good as false, 0 or an empty object.
        """
        value = self._left.pop(name, values[0])
        if value is None and not all(values):
            return
        wanted = " or ".join(repr(v) for v in values)
        self.require(
            value in values, f"{name}={value!r} is not implemented, only {wanted}"
        )

    def nested(
        self, *names: str, default: Mapping[str, Any] | None = None
    ) -> "ConfigReader":
        """A reader of the object that one of these attributes holds.

        What it does not understand is reported with all the rest. It has nothing
        to read where no attribute is there, or none is more than null or {}.

        Args:
          *names: today's name and older ones; no two may say different things.
          default: Hugging Face's, where none of them says more than that.
        """
        given = {name: self._left.pop(name, None) for name in names}
        given = {name: value for name, value in given.items() if value}
        name, value = next(iter(given.items()), (names[0], default or {}))
        is_object = isinstance(value, Mapping)
        self.require(is_object, f"{name}={value!r} should be an object")
        same = all(other == value for other in given.values())
        self.require(same, f"{' and '.join(given)} differ")
        reader = ConfigReader(value if is_object else {}, self.keys)
        self._nested[name] = reader
        return reader

    def rename(self, **names: str) -> None:
        """Gives attributes their name of today.

        Args:
          **names: other name -> today's; both may be there if they agree.
        """
        for old, new in names.items():
            if old in self._left:
                value = self._left.pop(old)
                same = self._left.setdefault(new, value) == value
                self.require(same, f"{old}={value!r} and {new} differ")

    @property
    def names(self) -> tuple[str, ...]:
        """What is left to read."""
        return tuple(self._left)

    @property
    def is_empty(self) -> bool:
        """Is there nothing left to read?"""
        return not self._left

    def require(self, condition: bool, problem: str) -> None:
        """Reports the problem, with all others, unless the condition holds."""
        if not condition:
            self._problems.append(problem)

    def ignore(self, *names: str) -> None:
        """Attributes without effect on the outputs of a trained model."""
        for name in names:
            self._left.pop(name, None)

    def problems(self) -> list[str]:
        """Everything that was not understood."""
        unknown = [
            f"{name}={value!r} is not known"
            + (f" ({_HINTS[name]})" if name in _HINTS else "")
            for name, value in self._left.items()
            if value is not None  # as good as absent
        ]
        inside = [
            f"{name}: {problem}"
            for name, reader in self._nested.items()
            for problem in reader.problems()
        ]
        return self._problems + unknown + inside

    def check(self, source: str) -> None:
        """Raises InputError naming everything that was not understood."""
        problems = self.problems()
        if problems:
            raise InputError(
                join_problems(f"{source}: this config is not understood:", problems)
                + IGNORE_HINT
            )


# What a user can do about a refusal.
IGNORE_HINT = (
    "\nWhat changes no output of the model can be passed over, at your own risk: "
    "--ignore_config=NAME, once for each (PARENT.NAME inside an object); run.json "
    "records it"
)


def pass_over(
    attributes: Mapping[str, Any], names: Collection[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Takes attributes out of a config that a user wants passed over.

    Args:
      attributes: the content of `config.json`.
      names: of attributes, or "parent.name" inside an object; they need not be there.

    Returns:
      what is left, and name -> value of what was taken out.
    """
    left, taken = dict(attributes), {}
    for name in names:
        parent, _, inner = name.partition(".")
        if name in left:
            taken[name] = left.pop(name)
        elif isinstance(left.get(parent), Mapping):
            left[parent], found = pass_over(left[parent], [inner])
            taken |= {f"{parent}.{below}": value for below, value in found.items()}
    return left, taken
