"""`python -m scalewise`."""

from scalewise.cli import main

if __name__ == "__main__":
    main()
