"""Fine-tuning: the loop, checkpoints, evaluation."""
