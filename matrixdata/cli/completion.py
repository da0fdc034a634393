"""`matrixdata completion`: the script by which a shell completes our commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from matrixdata.cli.output import write

_PROGRAM = "matrixdata"
_ZSH_HEAD = "#compdef matrixdata\n"
# A zsh without a completion system, as it comes, has no `compdef` and would complain in each new shell.
_ZSH_SYSTEM = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }\n"


@click.command(
    epilog="""\b
Examples:
  matrixdata completion bash >> ~/.bashrc
  matrixdata completion zsh >> ~/.zshrc
  matrixdata completion fish > ~/.config/fish/completions/matrixdata.fish

A new shell then completes commands and options with the Tab key."""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script for your shell: bash (4.4 or later), zsh or fish. It changes nothing by itself."""
    kind = get_completion_class(shell)
    if kind is None:  # click knows all three
        raise click.UsageError(f"no completion for {shell}", ctx)
    script = kind(ctx.find_root().command, {}, _PROGRAM, "_MATRIXDATA_COMPLETE")
    text = script.source_template % script.source_vars()
    write(text.replace(_ZSH_HEAD, _ZSH_HEAD + _ZSH_SYSTEM, 1).rstrip("\n"))
