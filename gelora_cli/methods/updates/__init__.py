"""What methods put on a model, in torch and PEFT; nothing here is imported before a method is attached or loaded."""
