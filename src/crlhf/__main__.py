"""`python -m crlhf`: what torchrun and accelerate launch start."""

from crlhf.cli import main

if __name__ == "__main__":
    main()
