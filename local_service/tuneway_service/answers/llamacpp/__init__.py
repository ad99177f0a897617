"""The engine `llamacpp`: llama.cpp's own server in a process, with a base model and its adapters.

`files` makes GGUF files of models, by `convert` in a process. `process` is the program that runs the server, `server`
its handle, `bases` starts another server when there is a new adapter. `wording` turns questions into llama.cpp's terms,
and `model` is the model that is asked.
"""
