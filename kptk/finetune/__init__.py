"""Fine-tuning: PaddleDetection's networks trained in a process of their own, and exported."""
