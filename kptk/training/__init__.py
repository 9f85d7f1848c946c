"""Fine-tuning: PaddleDetection's networks in a process of their own, watched and exported."""
