"""The pages of the studio: thin doors at the roof, since one page shows what several floors know."""
