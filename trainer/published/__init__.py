"""Published checkpoints, turned into folders that `from_pretrained` loads.

reading   what is in the files: names, shapes, dtypes; nothing is run, and no tensor is read before it is needed
keys      published names -> ours
sizes     what shapes tell about a model
configs   a published config.json -> ours
tokens    the tokenizer, and the ids of the special tokens
sources   what a checkpoint is made of: a folder, trained tensors and their base, or OpenFlamingo's three parts
planning  each of our tensors and where it comes from, or what stands in the way
assemble  the above, for one checkpoint
writing   sharded safetensors, one tensor in memory at a time
convert   write it
describe  say what it is, and what stands in the way
"""
