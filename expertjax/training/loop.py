"""The training loop: resumable, with a held-out loss and an ordinary result."""

import csv
import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import nnx
from tqdm import tqdm

from expertjax.checkpoints.load import Model, abstract_module, save_huggingface
from expertjax.errors import InputError
from expertjax.jax_settings import jax_settings
from expertjax.models import gpt2
from expertjax.models.attention import Inputs
from expertjax.models.forward import Forward
from expertjax.training import baselines
from expertjax.training.curve import draw_loss_curve
from expertjax.training.data import END, PackedLines, split_lines, train_tokenizer
from expertjax.training.settings import TrainSettings
from expertjax.typing import Array


@jax_settings()
def train(
    lines: Sequence[str],
    out: Path,
    settings: TrainSettings,
    keep_steps: Sequence[int] = (),
) -> dict[str, Any]:
    """Trains a GPT-2 from scratch and writes it as a Hugging Face folder.

    Stops and starts again at the last checkpoint; a run of other settings or
    other text in the same folder is refused.

    Args:
      lines: the text, one sentence a line.
      out: gets config, weights (float16), tokenizer, `train_log.csv`,
        `metrics.json`, `loss.png`, the held-out lines as `heldout.txt`, and the
        folder `checkpoints`.
      settings: sizes and schedule.
      keep_steps: steps after which the model is kept as `out/step-<n>`. The last
        one is then kept in this way too, so that `out` is a series (see
        `checkpoints.series`).

    Returns:
      the content of `metrics.json`: perplexities on held-out lines.

    Raises:
      InputError: too little text, a step that the run does not have, or `out`
        belongs to another run.
    """
    run = _Run(lines, out, settings, keep_steps)
    params = run.train()
    metrics = run.evaluate(params)
    run.save(params, run.num_steps if keep_steps else None)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    draw_loss_curve(
        out / "train_log.csv",
        out / "loss.png",
        {name: metrics[f"{name}_perplexity"] for name in ("unigram", "bigram")},
    )
    return metrics


class _Run:
    """What the steps of one run share."""

    def __init__(
        self,
        lines: Sequence[str],
        out: Path,
        settings: TrainSettings,
        keep_steps: Sequence[int],
    ) -> None:
        self.settings, self.out, self.keep_steps = settings, out, sorted(keep_steps)
        train_lines, heldout_lines = split_lines(lines, settings.heldout_share)
        if not train_lines or not heldout_lines:
            raise InputError("--text: too little text to train and to hold out")
        self.tokenizer = train_tokenizer(train_lines, settings.vocab_size)
        self.heldout_text = "\n".join(heldout_lines) + "\n"
        self.end = self.tokenizer.convert_tokens_to_ids(END)
        encode = self.tokenizer.backend_tokenizer.encode_batch_fast
        self.train_ids = [e.ids for e in encode(train_lines)]
        self.heldout_ids = [e.ids for e in encode(heldout_lines)]
        self.data = PackedLines(self.train_ids, self.end, settings.seq_len)
        heldout = PackedLines(self.heldout_ids, self.end, settings.seq_len)
        self.heldout_rows = heldout.epoch(0)
        if not len(self.heldout_rows):
            raise InputError(
                f"--text: the {len(heldout_lines)} held-out lines do not fill one row "
                f"of --seq_len={settings.seq_len} tokens; give more text"
            )
        self.steps_per_epoch = len(self.data.epoch(0)) // settings.batch_size
        self.num_steps = int(self.steps_per_epoch * settings.epochs)
        if self.num_steps < 1:
            raise InputError(
                f"--text: not enough text for one batch of {settings.batch_size} rows"
            )
        wrong = [k for k in self.keep_steps if not 0 <= k <= self.num_steps]
        if wrong:
            raise InputError(
                f"--keep_steps={wrong[0]}: the run has steps 0 to {self.num_steps}"
            )
        self.config = gpt2.GPT2Config(
            vocab_size=len(self.tokenizer),
            max_positions=settings.seq_len,
            width=settings.width,
            num_layers=settings.num_layers,
            num_heads=settings.num_heads,
            mlp_width=4 * settings.width,
        )
        graphdef, _ = abstract_module(gpt2.FAMILY, self.config, None)
        self.forward = Forward(graphdef)
        self.optimizer, self.schedule = _optimizer(settings, self.num_steps)
        self._claim(lines)

    def model(self, params: nnx.State) -> Model:
        c = self.config
        attributes = {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": c.vocab_size,
            "n_positions": c.max_positions,
            "n_embd": c.width,
            "n_layer": c.num_layers,
            "n_head": c.num_heads,
            "bos_token_id": self.end,
            "eos_token_id": self.end,
            "torch_dtype": "float16",
        }
        return Model(
            name=self.out.name,
            path=self.out,
            family=gpt2.FAMILY,
            config=c,
            graphdef=self.forward.graphdef,
            params=params,
            tokenizer=self.tokenizer,
            attributes=attributes,
        )

    def save(self, params: nnx.State, step: int | None = None) -> None:
        """Writes the model, as a member of a series where a step is given."""
        folder = self.out if step is None else self.out / f"step-{step}"
        save_huggingface(self.model(params), folder, np.float16)

    def train(self) -> nnx.State:
        model = gpt2.GPT2(self.config, rngs=nnx.Rngs(self.settings.seed))
        params = nnx.state(model)
        if 0 in self.keep_steps:
            self.save(params, 0)
        state = {"params": nnx.to_pure_dict(params)}
        state["optimizer"] = self.optimizer.init(state["params"])
        options = ocp.CheckpointManagerOptions(max_to_keep=2)
        folder = (self.out / "checkpoints").resolve()
        with ocp.CheckpointManager(folder, options=options) as manager:
            first = manager.latest_step() or 0
            if first:
                restore = ocp.args.StandardRestore(state)
                state = manager.restore(first, args=restore)
            state = self._steps(state, first, manager)
        nnx.replace_by_pure_dict(params, state["params"])
        return params

    def _steps(self, state: Any, first: int, manager: ocp.CheckpointManager) -> Any:
        settings = self.settings
        step_fn = jax.jit(self._step, donate_argnums=0)
        tokens = settings.batch_size * settings.seq_len
        bar = tqdm(total=self.num_steps, initial=first, unit="step", mininterval=5)
        losses = []
        for step, rows in self._batches(first):
            state, loss = step_fn(state, jnp.asarray(rows))
            losses.append(loss)
            done = step + 1
            bar.update()
            if done in self.keep_steps:
                self.save(nnx.State(state["params"]), done)
            if done % settings.eval_every == 0 or done == self.num_steps:
                train_loss = float(np.mean([float(x) for x in losses]))
                losses = []
                heldout_loss = self.heldout_loss(state["params"])
                manager.save(done, args=ocp.args.StandardSave(state))
                manager.wait_until_finished()
                self._log(done, done * tokens, train_loss, heldout_loss)
                bar.set_postfix(
                    train=f"{train_loss:.3f}", heldout=f"{heldout_loss:.3f}"
                )
        bar.close()
        return state

    def _batches(self, first: int) -> Iterator[tuple[int, np.ndarray]]:
        size, step, epoch = self.settings.batch_size, 0, 0
        while step < self.num_steps:
            rows = self.data.epoch(self.settings.seed + epoch)
            for start in range(0, len(rows) - size + 1, size):
                if first <= step < self.num_steps:
                    yield step, rows[start : start + size]
                step += 1
            epoch += 1

    def _step(self, state: Any, rows_BxT: Array) -> tuple[Any, Array]:
        loss, grads = jax.value_and_grad(self._loss)(state["params"], rows_BxT)
        updates, optimizer = self.optimizer.update(
            grads, state["optimizer"], state["params"]
        )
        params = optax.apply_updates(state["params"], updates)
        return {"params": params, "optimizer": optimizer}, loss

    def _loss(self, pure_params: Any, rows_BxT: Array) -> Array:
        model = self.forward.bind(nnx.State(pure_params))
        inputs, targets = rows_BxT[:, :-1], rows_BxT[:, 1:]
        hidden = model(Inputs.of(inputs, jnp.ones_like(inputs))).hidden
        return optax.softmax_cross_entropy_with_integer_labels(
            model.logits(hidden), targets
        ).mean()

    def heldout_loss(self, pure_params: Any) -> float:
        loss_fn = self._jitted_loss()
        size = self.settings.batch_size
        rows = self.heldout_rows
        # Batches of one shape; the rest of less than a batch goes row by row.
        full = len(rows) // size * size
        total = 0.0
        for start in range(0, full, size):
            batch = jnp.asarray(rows[start : start + size])
            total += float(loss_fn(pure_params, batch)) * size
        for row in rows[full:]:
            total += float(loss_fn(pure_params, jnp.asarray(row[None])))
        return total / len(rows)

    def _jitted_loss(self) -> Any:
        if not hasattr(self, "_loss_fn"):
            self._loss_fn = jax.jit(self._loss)
        return self._loss_fn

    def evaluate(self, params: nnx.State) -> dict[str, Any]:
        """Perplexity per token beside that of the baselines, on the same targets."""
        loss = self.heldout_loss(nnx.to_pure_dict(params))
        v = self.config.vocab_size
        lines = [[*line, self.end] for line in self.train_ids]
        rows = self.heldout_rows.tolist()
        return {
            "heldout_perplexity": math.exp(loss),
            "unigram_perplexity": baselines.unigram_perplexity(lines, rows, v),
            "bigram_perplexity": baselines.bigram_perplexity(lines, rows, v, self.end),
            "heldout_lines": len(self.heldout_ids),
            "train_lines": len(self.train_ids),
            "train_tokens": self.data.num_tokens,
            "steps": self.num_steps,
            "settings": dataclasses.asdict(self.settings),
        }

    def _claim(self, lines: Sequence[str]) -> None:
        """Makes the folder ours, or refuses that of another run."""
        content: dict[str, Any] = {
            "settings": dataclasses.asdict(self.settings),
            "text_sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        }
        if self.keep_steps:
            content["keep_steps"] = self.keep_steps
        mine = json.dumps(content, indent=2) + "\n"
        claim = self.out / "train.json"
        if claim.is_file() and claim.read_text("utf-8") != mine:
            raise InputError(
                f"{claim}: this folder holds a run of other settings or other text; "
                "choose another --out"
            )
        self.out.mkdir(parents=True, exist_ok=True)
        claim.write_text(mine, "utf-8")
        (self.out / "heldout.txt").write_text(self.heldout_text, "utf-8")

    def _log(self, step: int, tokens: int, train: float, heldout: float) -> None:
        path = self.out / "train_log.csv"
        new = not path.is_file()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "tokens", "train_loss", "heldout_loss"])
            writer.writerow([step, tokens, f"{train:.5f}", f"{heldout:.5f}"])


def _optimizer(
    settings: TrainSettings, num_steps: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    warmup = max(1, int(num_steps * settings.warmup_share))
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, settings.learning_rate, warmup, max(num_steps, warmup + 1), 0.0
    )
    # Norms and biases are not decayed: [L, F] when stacked, so told by name.
    mask = lambda params: jax.tree_util.tree_map_with_path(  # noqa: E731
        lambda path, _: path[-1].key in ("kernel", "embedding"), params
    )
    adam = optax.adamw(schedule, b2=0.95, weight_decay=settings.weight_decay, mask=mask)
    return optax.chain(optax.clip_by_global_norm(1.0), adam), schedule
