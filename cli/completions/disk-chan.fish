# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_disk_chan_global_optspecs
    string join \n h/help V/version
end

function __fish_disk_chan_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_disk_chan_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_disk_chan_using_subcommand
    set -l cmd (__fish_disk_chan_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c disk-chan -n "__fish_disk_chan_needs_command" -s h -l help -d 'Print help'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -s V -l version -d 'Print version'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "create" -d 'Make a new channel; refuse a directory that is one already'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "info" -d 'Show what a channel is and what it holds'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "groups" -d 'Show every group: its consumers, position, lag and losses'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "send" -d 'Send lines, records or files as messages'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "recv" -d 'Receive as a consumer of a group; acknowledge what has been written'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "tail" -d 'Print the last messages without taking them from anybody'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "cat" -d 'Print every message kept without taking them from anybody'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "seek" -d 'Move a group to another place'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "delete-group" -d 'Delete a group that has no consumers'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "verify" -d 'Check every structure and checksum; change nothing'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "export" -d 'Write every message kept to a stream that `import` reads'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "import" -d 'Send the messages of an exported stream'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "bench" -d 'Measure how fast a channel is in this directory'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "top" -d 'Watch a channel: rates, groups, pages, participants'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "destroy" -d 'Remove a channel and all its messages'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "completions" -d 'Print a completion script for a shell'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "man" -d 'Print the manual page, of one command where it is named'
complete -c disk-chan -n "__fish_disk_chan_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand create" -l page-size -d 'Bytes of a page, 64K to 4G; default 16M' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand create" -l max-pages -d 'Pages kept at most, 2 or more, or "unlimited"; default 16' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand create" -l messages-per-page -d 'Messages a page holds at most; default 65,535' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand create" -l retention -d 'What goes when a new page is needed; default ring' -r -f -a "ring\t'The oldest page'
live\t'The oldest page, but nothing that a group with a living consumer has not acknowledged'
unread\t'Nothing that any group has not acknowledged: sends wait'"
complete -c disk-chan -n "__fish_disk_chan_using_subcommand create" -l checksum -d 'Whether messages carry checksums; default on' -r -f -a "on\t''
off\t''"
complete -c disk-chan -n "__fish_disk_chan_using_subcommand create" -l mode -d 'Permission bits of every file, octal; default 600' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand create" -l stall-timeout -d 'After this time a message that its sender does not finish is passed over; default 1s' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand create" -l durability -d 'Of this run only: it is not stored, each sender chooses its own (see `send`)' -r -f -a "none\t'What the kernel has not written yet'
interval\t'The last second'
always\t'Nothing that was sent'"
complete -c disk-chan -n "__fish_disk_chan_using_subcommand create" -l json -d 'Print the new channel\'s figures as JSON'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand create" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand info" -l json -d 'Print JSON'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand info" -s h -l help -d 'Print help'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand groups" -l json -d 'Print JSON'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand groups" -s h -l help -d 'Print help'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand send" -l file -d 'Send each of these files as one message, instead of standard input' -r -F
complete -c disk-chan -n "__fish_disk_chan_using_subcommand send" -l timeout -d 'Wait for room so long at most; default: for ever' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand send" -l durability -d 'What a power cut may take; of this run, not of the channel' -r -f -a "none\t'What the kernel has not written yet'
interval\t'The last second'
always\t'Nothing that was sent'"
complete -c disk-chan -n "__fish_disk_chan_using_subcommand send" -l nul -d 'A NUL byte ends each message, not a newline'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand send" -l length-prefixed -d 'Each message follows its length, 4 bytes, little-endian'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand send" -l escape -d 'Lines in which \\n, \\0 and \\\\ stand for a newline, a NUL byte and a backslash'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand send" -l sync -d 'Return only when all that was sent is on stable storage'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand send" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand recv" -s n -l count -d 'End after so many messages' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand recv" -l timeout -d 'Wait so long for each next message' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand recv" -l start -d 'Where a new group starts: earliest, latest, last:N or a position' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand recv" -l batch -d 'Messages written before one acknowledgement, at most' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand recv" -l prefetch -d 'Messages claimed ahead of need (1: none); default: the library\'s choice' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand recv" -l max-unacked -d 'Messages held unacknowledged at most; default 1,024' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand recv" -l nul -d 'A NUL byte after each message, not a newline'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand recv" -l length-prefixed -d 'Each message after its length, 4 bytes, little-endian'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand recv" -l escape -d 'Lines in which \\n, \\0 and \\\\ stand for a newline, a NUL byte and a backslash'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand recv" -l raw -d 'The messages alone, nothing between them'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand recv" -l positions -d 'Begin each message with its position and a tab'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand recv" -s f -l follow -d 'Wait for ever'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand recv" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand tail" -s n -l count -d 'How many messages from the end' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand tail" -l nul -d 'A NUL byte after each message, not a newline'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand tail" -l length-prefixed -d 'Each message after its length, 4 bytes, little-endian'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand tail" -l escape -d 'Lines in which \\n, \\0 and \\\\ stand for a newline, a NUL byte and a backslash'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand tail" -l raw -d 'The messages alone, nothing between them'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand tail" -l positions -d 'Begin each message with its position and a tab'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand tail" -s f -l follow -d 'Go on with what is sent from now on'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand tail" -s h -l help -d 'Print help'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand cat" -l nul -d 'A NUL byte after each message, not a newline'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand cat" -l length-prefixed -d 'Each message after its length, 4 bytes, little-endian'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand cat" -l escape -d 'Lines in which \\n, \\0 and \\\\ stand for a newline, a NUL byte and a backslash'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand cat" -l raw -d 'The messages alone, nothing between them'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand cat" -l positions -d 'Begin each message with its position and a tab'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand cat" -s f -l follow -d 'Go on with what is sent from now on'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand cat" -s h -l help -d 'Print help'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand seek" -l create -d 'Make the group where there is none'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand seek" -s h -l help -d 'Print help'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand delete-group" -s h -l help -d 'Print help'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand verify" -l json -d 'Print JSON'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand verify" -s h -l help -d 'Print help'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand export" -s o -l output -d 'Where to write; default: standard output' -r -F
complete -c disk-chan -n "__fish_disk_chan_using_subcommand export" -s h -l help -d 'Print help'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand import" -s i -l input -d 'What to read; default: standard input' -r -F
complete -c disk-chan -n "__fish_disk_chan_using_subcommand import" -l skip -d 'Leave out the first N messages, which an earlier import has taken' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand import" -l timeout -d 'Wait for room so long at most; default: for ever' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand import" -l create -d 'Make the channel, as the exported one was'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand import" -l sync -d 'Return only when all that was sent is on stable storage'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand import" -s h -l help -d 'Print help'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand bench" -l size -d 'Bytes of a message' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand bench" -l time -d 'How long to measure in all' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand bench" -l json -d 'Print JSON'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand bench" -s h -l help -d 'Print help'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand top" -s i -l interval -d 'Time between two looks' -r
complete -c disk-chan -n "__fish_disk_chan_using_subcommand top" -s h -l help -d 'Print help'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand destroy" -s y -l yes -d 'Do not ask'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand destroy" -s h -l help -d 'Print help'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand completions" -s h -l help -d 'Print help'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand man" -l all -d 'Write the page of each command to this directory instead' -r -f -a "(__fish_complete_directories)"
complete -c disk-chan -n "__fish_disk_chan_using_subcommand man" -s h -l help -d 'Print help'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "create" -d 'Make a new channel; refuse a directory that is one already'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "info" -d 'Show what a channel is and what it holds'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "groups" -d 'Show every group: its consumers, position, lag and losses'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "send" -d 'Send lines, records or files as messages'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "recv" -d 'Receive as a consumer of a group; acknowledge what has been written'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "tail" -d 'Print the last messages without taking them from anybody'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "cat" -d 'Print every message kept without taking them from anybody'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "seek" -d 'Move a group to another place'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "delete-group" -d 'Delete a group that has no consumers'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "verify" -d 'Check every structure and checksum; change nothing'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "export" -d 'Write every message kept to a stream that `import` reads'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "import" -d 'Send the messages of an exported stream'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "bench" -d 'Measure how fast a channel is in this directory'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "top" -d 'Watch a channel: rates, groups, pages, participants'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "destroy" -d 'Remove a channel and all its messages'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "completions" -d 'Print a completion script for a shell'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "man" -d 'Print the manual page, of one command where it is named'
complete -c disk-chan -n "__fish_disk_chan_using_subcommand help; and not __fish_seen_subcommand_from create info groups send recv tail cat seek delete-group verify export import bench top destroy completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
