#compdef disk-chan

autoload -U is-at-least

_disk-chan() {
    typeset -A opt_args
    typeset -a _arguments_options
    local ret=1

    if is-at-least 5.2; then
        _arguments_options=(-s -S -C)
    else
        _arguments_options=(-s -C)
    fi

    local context curcontext="$curcontext" state line
    _arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
":: :_disk-chan_commands" \
"*::: :->disk-chan" \
&& ret=0
    case $state in
    (disk-chan)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:disk-chan-command-$line[1]:"
        case $line[1] in
            (create)
_arguments "${_arguments_options[@]}" : \
'--page-size=[Bytes of a page, 64K to 4G; default 16M]:BYTES:_default' \
'--max-pages=[Pages kept at most, 2 or more, or "unlimited"; default 16]:N:_default' \
'--messages-per-page=[Messages a page holds at most; default 65,535]:N:_default' \
'--retention=[What goes when a new page is needed; default ring]:RETENTION:((ring\:"The oldest page"
live\:"The oldest page, but nothing that a group with a living consumer has not acknowledged"
unread\:"Nothing that any group has not acknowledged\: sends wait"))' \
'--checksum=[Whether messages carry checksums; default on]:CHECKSUM:(on off)' \
'--mode=[Permission bits of every file, octal; default 600]:OCTAL:_default' \
'--stall-timeout=[After this time a message that its sender does not finish is passed over; default 1s]:TIME:_default' \
'--durability=[Of this run only\: it is not stored, each sender chooses its own (see \`send\`)]:DURABILITY:((none\:"What the kernel has not written yet"
interval\:"The last second"
always\:"Nothing that was sent"))' \
'--json[Print the new channel'\''s figures as JSON]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':channel -- Directory of the channel:_files -/' \
&& ret=0
;;
(info)
_arguments "${_arguments_options[@]}" : \
'--json[Print JSON]' \
'-h[Print help]' \
'--help[Print help]' \
':channel -- Directory of the channel:_files -/' \
&& ret=0
;;
(groups)
_arguments "${_arguments_options[@]}" : \
'--json[Print JSON]' \
'-h[Print help]' \
'--help[Print help]' \
':channel -- Directory of the channel:_files -/' \
&& ret=0
;;
(send)
_arguments "${_arguments_options[@]}" : \
'(--nul --length-prefixed --escape)*--file=[Send each of these files as one message, instead of standard input]:PATH:_files' \
'--timeout=[Wait for room so long at most; default\: for ever]:TIME:_default' \
'--durability=[What a power cut may take; of this run, not of the channel]:DURABILITY:((none\:"What the kernel has not written yet"
interval\:"The last second"
always\:"Nothing that was sent"))' \
'--nul[A NUL byte ends each message, not a newline]' \
'--length-prefixed[Each message follows its length, 4 bytes, little-endian]' \
'--escape[Lines in which \\n, \\0 and \\\\ stand for a newline, a NUL byte and a backslash]' \
'--sync[Return only when all that was sent is on stable storage]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':channel -- Directory of the channel:_files -/' \
&& ret=0
;;
(recv)
_arguments "${_arguments_options[@]}" : \
'-n+[End after so many messages]:N:_default' \
'--count=[End after so many messages]:N:_default' \
'(-f --follow)--timeout=[Wait so long for each next message]:TIME:_default' \
'--start=[Where a new group starts\: earliest, latest, last\:N or a position]:PLACE:_default' \
'--batch=[Messages written before one acknowledgement, at most]:N:_default' \
'--prefetch=[Messages claimed ahead of need (1\: none); default\: the library'\''s choice]:N:_default' \
'--max-unacked=[Messages held unacknowledged at most; default 1,024]:N:_default' \
'--nul[A NUL byte after each message, not a newline]' \
'--length-prefixed[Each message after its length, 4 bytes, little-endian]' \
'--escape[Lines in which \\n, \\0 and \\\\ stand for a newline, a NUL byte and a backslash]' \
'--raw[The messages alone, nothing between them]' \
'(--length-prefixed --raw)--positions[Begin each message with its position and a tab]' \
'-f[Wait for ever]' \
'--follow[Wait for ever]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':channel -- Directory of the channel:_files -/' \
':group -- Name of the group; made where there is none:_default' \
&& ret=0
;;
(tail)
_arguments "${_arguments_options[@]}" : \
'-n+[How many messages from the end]:N:_default' \
'--count=[How many messages from the end]:N:_default' \
'--nul[A NUL byte after each message, not a newline]' \
'--length-prefixed[Each message after its length, 4 bytes, little-endian]' \
'--escape[Lines in which \\n, \\0 and \\\\ stand for a newline, a NUL byte and a backslash]' \
'--raw[The messages alone, nothing between them]' \
'(--length-prefixed --raw)--positions[Begin each message with its position and a tab]' \
'-f[Go on with what is sent from now on]' \
'--follow[Go on with what is sent from now on]' \
'-h[Print help]' \
'--help[Print help]' \
':channel -- Directory of the channel:_files -/' \
&& ret=0
;;
(cat)
_arguments "${_arguments_options[@]}" : \
'--nul[A NUL byte after each message, not a newline]' \
'--length-prefixed[Each message after its length, 4 bytes, little-endian]' \
'--escape[Lines in which \\n, \\0 and \\\\ stand for a newline, a NUL byte and a backslash]' \
'--raw[The messages alone, nothing between them]' \
'(--length-prefixed --raw)--positions[Begin each message with its position and a tab]' \
'-f[Go on with what is sent from now on]' \
'--follow[Go on with what is sent from now on]' \
'-h[Print help]' \
'--help[Print help]' \
':channel -- Directory of the channel:_files -/' \
&& ret=0
;;
(seek)
_arguments "${_arguments_options[@]}" : \
'--create[Make the group where there is none]' \
'-h[Print help]' \
'--help[Print help]' \
':channel -- Directory of the channel:_files -/' \
':group -- Name of the group:_default' \
':to -- Where to\: earliest, latest, last\:N or a position:_default' \
&& ret=0
;;
(delete-group)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
':channel -- Directory of the channel:_files -/' \
':group -- Name of the group:_default' \
&& ret=0
;;
(verify)
_arguments "${_arguments_options[@]}" : \
'--json[Print JSON]' \
'-h[Print help]' \
'--help[Print help]' \
':channel -- Directory of the channel:_files -/' \
&& ret=0
;;
(export)
_arguments "${_arguments_options[@]}" : \
'-o+[Where to write; default\: standard output]:FILE:_files' \
'--output=[Where to write; default\: standard output]:FILE:_files' \
'-h[Print help]' \
'--help[Print help]' \
':channel -- Directory of the channel:_files -/' \
&& ret=0
;;
(import)
_arguments "${_arguments_options[@]}" : \
'-i+[What to read; default\: standard input]:FILE:_files' \
'--input=[What to read; default\: standard input]:FILE:_files' \
'--skip=[Leave out the first N messages, which an earlier import has taken]:N:_default' \
'--timeout=[Wait for room so long at most; default\: for ever]:TIME:_default' \
'--create[Make the channel, as the exported one was]' \
'--sync[Return only when all that was sent is on stable storage]' \
'-h[Print help]' \
'--help[Print help]' \
':channel -- Directory of the channel:_files -/' \
&& ret=0
;;
(bench)
_arguments "${_arguments_options[@]}" : \
'--size=[Bytes of a message]:BYTES:_default' \
'--time=[How long to measure in all]:TIME:_default' \
'--json[Print JSON]' \
'-h[Print help]' \
'--help[Print help]' \
'::directory -- Where to make a channel for the time being:_files -/' \
&& ret=0
;;
(top)
_arguments "${_arguments_options[@]}" : \
'-i+[Time between two looks]:TIME:_default' \
'--interval=[Time between two looks]:TIME:_default' \
'-h[Print help]' \
'--help[Print help]' \
':channel -- Directory of the channel:_files -/' \
&& ret=0
;;
(destroy)
_arguments "${_arguments_options[@]}" : \
'-y[Do not ask]' \
'--yes[Do not ask]' \
'-h[Print help]' \
'--help[Print help]' \
':channel -- Directory of the channel:_files -/' \
&& ret=0
;;
(completions)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
':shell:(bash elvish fish powershell zsh)' \
&& ret=0
;;
(man)
_arguments "${_arguments_options[@]}" : \
'()--all=[Write the page of each command to this directory instead]:DIRECTORY:_files -/' \
'-h[Print help]' \
'--help[Print help]' \
'::command:_default' \
&& ret=0
;;
(help)
_arguments "${_arguments_options[@]}" : \
":: :_disk-chan__subcmd__help_commands" \
"*::: :->help" \
&& ret=0

    case $state in
    (help)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:disk-chan-help-command-$line[1]:"
        case $line[1] in
            (create)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(info)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(groups)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(send)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(recv)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(tail)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(cat)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(seek)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(delete-group)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(verify)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(export)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(import)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(bench)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(top)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(destroy)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(completions)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(man)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(help)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
        esac
    ;;
esac
;;
        esac
    ;;
esac
}

(( $+functions[_disk-chan_commands] )) ||
_disk-chan_commands() {
    local commands; commands=(
'create:Make a new channel; refuse a directory that is one already' \
'info:Show what a channel is and what it holds' \
'groups:Show every group\: its consumers, position, lag and losses' \
'send:Send lines, records or files as messages' \
'recv:Receive as a consumer of a group; acknowledge what has been written' \
'tail:Print the last messages without taking them from anybody' \
'cat:Print every message kept without taking them from anybody' \
'seek:Move a group to another place' \
'delete-group:Delete a group that has no consumers' \
'verify:Check every structure and checksum; change nothing' \
'export:Write every message kept to a stream that \`import\` reads' \
'import:Send the messages of an exported stream' \
'bench:Measure how fast a channel is in this directory' \
'top:Watch a channel\: rates, groups, pages, participants' \
'destroy:Remove a channel and all its messages' \
'completions:Print a completion script for a shell' \
'man:Print the manual page, of one command where it is named' \
'help:Print this message or the help of the given subcommand(s)' \
    )
    _describe -t commands 'disk-chan commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__bench_commands] )) ||
_disk-chan__subcmd__bench_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan bench commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__cat_commands] )) ||
_disk-chan__subcmd__cat_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan cat commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__completions_commands] )) ||
_disk-chan__subcmd__completions_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan completions commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__create_commands] )) ||
_disk-chan__subcmd__create_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan create commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__delete-group_commands] )) ||
_disk-chan__subcmd__delete-group_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan delete-group commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__destroy_commands] )) ||
_disk-chan__subcmd__destroy_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan destroy commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__export_commands] )) ||
_disk-chan__subcmd__export_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan export commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__groups_commands] )) ||
_disk-chan__subcmd__groups_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan groups commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help_commands] )) ||
_disk-chan__subcmd__help_commands() {
    local commands; commands=(
'create:Make a new channel; refuse a directory that is one already' \
'info:Show what a channel is and what it holds' \
'groups:Show every group\: its consumers, position, lag and losses' \
'send:Send lines, records or files as messages' \
'recv:Receive as a consumer of a group; acknowledge what has been written' \
'tail:Print the last messages without taking them from anybody' \
'cat:Print every message kept without taking them from anybody' \
'seek:Move a group to another place' \
'delete-group:Delete a group that has no consumers' \
'verify:Check every structure and checksum; change nothing' \
'export:Write every message kept to a stream that \`import\` reads' \
'import:Send the messages of an exported stream' \
'bench:Measure how fast a channel is in this directory' \
'top:Watch a channel\: rates, groups, pages, participants' \
'destroy:Remove a channel and all its messages' \
'completions:Print a completion script for a shell' \
'man:Print the manual page, of one command where it is named' \
'help:Print this message or the help of the given subcommand(s)' \
    )
    _describe -t commands 'disk-chan help commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__bench_commands] )) ||
_disk-chan__subcmd__help__subcmd__bench_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help bench commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__cat_commands] )) ||
_disk-chan__subcmd__help__subcmd__cat_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help cat commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__completions_commands] )) ||
_disk-chan__subcmd__help__subcmd__completions_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help completions commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__create_commands] )) ||
_disk-chan__subcmd__help__subcmd__create_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help create commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__delete-group_commands] )) ||
_disk-chan__subcmd__help__subcmd__delete-group_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help delete-group commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__destroy_commands] )) ||
_disk-chan__subcmd__help__subcmd__destroy_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help destroy commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__export_commands] )) ||
_disk-chan__subcmd__help__subcmd__export_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help export commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__groups_commands] )) ||
_disk-chan__subcmd__help__subcmd__groups_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help groups commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__help_commands] )) ||
_disk-chan__subcmd__help__subcmd__help_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help help commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__import_commands] )) ||
_disk-chan__subcmd__help__subcmd__import_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help import commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__info_commands] )) ||
_disk-chan__subcmd__help__subcmd__info_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help info commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__man_commands] )) ||
_disk-chan__subcmd__help__subcmd__man_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help man commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__recv_commands] )) ||
_disk-chan__subcmd__help__subcmd__recv_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help recv commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__seek_commands] )) ||
_disk-chan__subcmd__help__subcmd__seek_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help seek commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__send_commands] )) ||
_disk-chan__subcmd__help__subcmd__send_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help send commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__tail_commands] )) ||
_disk-chan__subcmd__help__subcmd__tail_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help tail commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__top_commands] )) ||
_disk-chan__subcmd__help__subcmd__top_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help top commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__help__subcmd__verify_commands] )) ||
_disk-chan__subcmd__help__subcmd__verify_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan help verify commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__import_commands] )) ||
_disk-chan__subcmd__import_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan import commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__info_commands] )) ||
_disk-chan__subcmd__info_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan info commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__man_commands] )) ||
_disk-chan__subcmd__man_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan man commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__recv_commands] )) ||
_disk-chan__subcmd__recv_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan recv commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__seek_commands] )) ||
_disk-chan__subcmd__seek_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan seek commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__send_commands] )) ||
_disk-chan__subcmd__send_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan send commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__tail_commands] )) ||
_disk-chan__subcmd__tail_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan tail commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__top_commands] )) ||
_disk-chan__subcmd__top_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan top commands' commands "$@"
}
(( $+functions[_disk-chan__subcmd__verify_commands] )) ||
_disk-chan__subcmd__verify_commands() {
    local commands; commands=()
    _describe -t commands 'disk-chan verify commands' commands "$@"
}

if [ "$funcstack[1]" = "_disk-chan" ]; then
    _disk-chan "$@"
else
    compdef _disk-chan disk-chan
fi
