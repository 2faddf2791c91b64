"""Every prompt as a file: front matter (inputs, output model, version) and a template; `integrations.prompts` fills it.

No code may enter, and no text of an issue, a repository or a model: those come in as data when a prompt is rendered.
"""
