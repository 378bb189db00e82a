"""Where the engine meets a training loop: Ignite trainers, plain loops, metrics, samplers."""
