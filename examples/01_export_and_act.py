"""Export a checkpoint with proof, and let the exported policy act in the environment that it was trained in."""

from pathlib import Path

import gymnasium

import edgerl

CHEETAH = Path(__file__).parent / "halfcheetah"

# Nothing in the checkpoint is executed, and neither torch nor the trainer is needed.
export = edgerl.export_checkpoint(CHEETAH / "model.zip", truth=CHEETAH / "truth.npz", spec=CHEETAH / "spec.toml")
worst = max(channel.max_error for channel in export.certificate.parity.channels)
print(f"parity {export.certificate.parity.status}: largest error {worst:.1e} on {export.certificate.parity.rows} rows")

backend = edgerl.find_backend("onnxruntime")
engine = edgerl.build(export.model, edgerl.load_target(edgerl.host_target()), backend, export.golden)
runner = backend.load(engine)

environment = gymnasium.make("HalfCheetah-v5")
observation, _ = environment.reset(seed=0)
total = 0.0
for _ in range(1000):
    runner.inputs["observation"][0] = observation  # raw, as the environment made it: the normalizer is in the graph
    runner.infer()
    observation, reward, *_ = environment.step(runner.outputs["action"][0])
    total += float(reward)
print(f"return {total:.0f}")
