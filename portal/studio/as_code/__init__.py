"""What a dialog of the studio does, as YAML, as commands, with the SDK and over REST: values in, texts out."""
