"""What each shell needs beyond what click does for it; loaded only to print a script, and when a shell asks."""

from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
)

PROGRAM = "experimenter"
_WORD_BREAKS = "=:@"  # those of bash that can stand inside a word

# zsh completes only after compinit, which forgets all that was registered before it. So we register at the first
# prompt: whether ~/.zshrc runs it before our line, after it or never. A file in $fpath is loaded at the first TAB, and
# then says what is to be called at the next one.
_ZSH_BEFORE = """\
#compdef %(prog_name)s
(( $+functions[compdef] )) || compdef() { }
"""
_ZSH_AFTER = """
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    compdef %(complete_func)s %(prog_name)s
else
    %(complete_func)s_register() {
        add-zsh-hook -d precmd %(complete_func)s_register
        (( $+_comps )) || { unfunction compdef; autoload -Uz compinit && compinit -i; }
        compdef %(complete_func)s %(prog_name)s
    }
    autoload -Uz add-zsh-hook
    add-zsh-hook precmd %(complete_func)s_register
fi
"""


@add_completion_class
class Bash(BashComplete):
    """Bash, which breaks `--name=x` into three words and completes the last of them."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is being typed, and that one."""
        args, incomplete = super().get_completion_args()
        *args, incomplete = _glued([*args, incomplete])
        return args, incomplete


@add_completion_class
class Zsh(ZshComplete):
    """Zsh, which replaces all of `--name=x`, and where compinit may come later or never."""

    source_template = _ZSH_BEFORE + ZshComplete.source_template + _ZSH_AFTER

    def get_completions(self, args: list[str], incomplete: str) -> "list[CompletionItem[Any]]":
        """Return what is offered, as whole words."""
        return _whole(super().get_completions(args, incomplete), incomplete)


@add_completion_class
class Fish(FishComplete):
    """Fish, which replaces all of `--name=x`."""

    def get_completions(self, args: list[str], incomplete: str) -> "list[CompletionItem[Any]]":
        """Return what is offered, as whole words."""
        return _whole(super().get_completions(args, incomplete), incomplete)


def script(shell: str, command: click.Command, *, asked: str) -> str:
    """Return the script that sets a variable to ask `command` what it offers."""
    found = get_completion_class(shell)
    assert found
    return found(command, {}, PROGRAM, asked).source()


def _glued(words: list[str]) -> list[str]:
    """Return words as they were before they were broken."""
    glued: list[str] = []
    is_open = False
    for word in words:
        is_break = bool(word) and not word.strip(_WORD_BREAKS)
        if glued and word and (is_open or is_break):
            glued[-1] += word
        else:
            glued.append(word)
        is_open = is_break
    return glued


def _whole(items: "list[CompletionItem[Any]]", incomplete: str) -> "list[CompletionItem[Any]]":
    """Return items with the option that is joined to their value by `=` put in front."""
    option, equals, _ = incomplete.partition("=")
    if equals and option.startswith("--"):
        return [CompletionItem(f"{option}={item.value}", type=item.type, help=item.help) for item in items]
    return items
