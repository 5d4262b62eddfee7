//! What the whole-binary tests share: the staged binary, and folders of its plugins.
