package dev.imago.cli;

/** The texts of {@code --help}. */
final class Help {
  private static final String COMMANDS =
      """
      Command syntax:
        check [-q] [-f fmt] [--output=ofmt] [-T src_cache] [-U] [--progress=pfmt] filename
        compare [-f fmt] [-F fmt] [-T src_cache] [-p] [--progress=pfmt] [-q] [-s] [-U] filename1 filename2
        convert [-f fmt] [-O output_fmt] [-o options] [-t cache] [-T src_cache] [-B backing_file [-F backing_fmt]] [-S sparse_size] [-m threads] [-W] [-n [--target-is-zero]] [-p] [--progress=pfmt] [-q] [-U] filename [filename2 [...]] output_filename
        create [-f fmt] [-o options] [-b backing_file [-F backing_fmt]] [-u] [-q] filename [size]
        info [-f fmt] [--output=ofmt] [--backing-chain] [-U] filename
        inspect [-f fmt] [--output=ofmt] [-U] filename
        map [-f fmt] [--output=ofmt] [--start-offset=offset] [--max-length=len] [-U] filename
        resize [-f fmt] [--preallocation=prealloc] [--shrink] [-q] filename [+ | -]size
      """;

  private static final String PARAMETERS =
      """
      Command parameters:
        'filename' is the name of a local file or block device. 'file:' may stand before it; it
          must if there is a colon before the first slash
        'fmt' is an image's format. Without it the first bytes decide, and whoever wrote them
        'output_fmt' is the format of the new image ('raw' by default)
        'options' is a list of name=value, separated by commas; -o help lists the names
        'cache' is how the host's cache is used for writing: 'none', 'writeback' (default, but not
          for convert), 'writethrough', 'directsync', or 'unsafe' (default for convert: as with
          qemu-img nothing is forced to the disk; a power cut right afterwards may lose it)
        'src_cache' is the same for images that are read
        'size' is in bytes; k, M, G, T, P and E behind it are powers of 1024
        'ofmt' is 'human' or 'json'
        'pfmt' is 'human' (as -p) or 'json': one line of JSON for each step, on standard output
        'sparse_size' is the shortest run of zeroes that becomes a hole (4k by default); 0 looks for
          none and allocates the whole target
        'prealloc' is 'off', 'falloc' or 'full'
        -B copies only what the source itself keeps and leaves the rest to backing_file
        -n copies into an image that exists; --target-is-zero says that it reads as zero everywhere
        -p shows how far the command is; -q prints nothing but errors
        -s compares sizes and allocation too
        -u does not look at the backing file
        -U reads without locks an image that somebody else may be writing
        -W is accepted: writes are always out of order if there is more than one thread
      """;

  private Help() {}

  /** The help for everything. */
  static String general(Terminal terminal) {
    String program = terminal.program();
    return Main.version(terminal)
        + "usage: "
        + program
        + " [standard options] command [command options]\n"
        + "Virtual disk images: qcow2 above all\n\n"
        + "    '-h', '--help'       display this help and exit; behind a command: help for it\n"
        + "    '-V', '--version'    output version information and exit\n\n"
        + COMMANDS
        + '\n'
        + PARAMETERS
        + "\nSupported formats: qcow2 raw\n";
  }

  /** Prints the help for one command; returns the exit code. */
  static int command(Terminal terminal, String command) {
    String start = "  " + command + " ";
    for (String line : COMMANDS.lines().toList()) {
      if (line.startsWith(start)) {
        terminal.print("Usage:\n  " + terminal.program() + " " + line.strip() + "\n\n");
      }
    }
    terminal.print(describe(command));
    terminal.print("\nArguments:\n  -h, --help\n     print this help and exit\n");
    terminal.print(arguments(command));
    return 0;
  }

  private static String describe(String command) {
    return switch (command) {
      case "check" -> "Look for contradictions in an image's own structures. Nothing is changed.\n";
      case "compare" -> "Tell whether guests see the same in two images.\n";
      case "convert" -> "Copy what guests see in images into another one, holes left out.\n";
      case "create" -> "Make an empty image.\n";
      case "info" -> "Tell what an image is. Files that it names stay closed.\n";
      case "inspect" ->
          "Tell what a file says about itself, every file that it names included. Opens none.\n";
      case "map" -> "Tell where each run of an image's bytes comes from.\n";
      default -> "Make an image's disk longer or shorter.\n";
    };
  }

  private static String arguments(String command) {
    return switch (command) {
      case "check" ->
          """
            -f FMT                     format of the image (default: probed)
            --output=human|json        how to print the result
            -T CACHE                   accepted; makes no difference
            -U, --force-share          check without a lock
            --progress=human|json      show how far it is
            -q                         print findings only
          Exit codes: 0 nothing found, 1 check not completed, 2 corruptions, 3 leaks only,
          63 the format has nothing to check.
          """;
      case "compare" ->
          """
            -f FMT, -F FMT             format of the first, of the second image (default: probed)
            -T CACHE                   cache mode of both (default: writeback)
            -s                         sizes and allocation must be equal too
            -U, --force-share          read without locks
            -p, --progress=human|json  show how far it is
            -q                         print errors only
          Exit codes: 0 identical, 1 different, 2 an image cannot be opened, 3 allocation cannot be
          looked up, 4 data cannot be read.
          """;
      case "convert" ->
          """
            -f FMT                     format of the sources (default: probed)
            -O FMT                     format of the target (default: raw)
            -o NAME=VALUE,...          options of the new image; -o help lists them
            -t CACHE                   cache mode of the target (default: unsafe, as qemu-img's:
                                       nothing is forced to the disk; use -t writeback if a power
                                       cut right afterwards must not lose it)
            -T CACHE                   cache mode of the sources (default: writeback)
            -B FILE, -F FMT            copy only what the source itself keeps; the target stands
                                       on FILE, whose format is FMT
            -S SIZE                    shortest run of zeroes that becomes a hole (default: 4k);
                                       0 looks for none and allocates the whole target
            -m N                       threads, 1 to 16
            -W, -C                     accepted; the order of writes is free, and the kernel
                                       copies where it can, in any case
            -n                         copy into an image that exists
            --target-is-zero           with -n: it reads as zero everywhere
            -U, --force-share          read the sources without locks
            -p, --progress=human|json  show how far it is
            -q                         print errors only
          If it fails the new image is removed. Compressed images can be read, not yet written (-c).
          """;
      case "create" ->
          """
            -f, --format FMT           format of the image (default: raw)
            -o, --options NAME=VALUE,...
                                       options of the format; -o help lists them
            -b, --backing FILE         stand on this image; SIZE may then be left out
            -F, -B, --backing-format FMT
                                       format of the backing image
            -u, --backing-unsafe       do not look at the backing image
            -q, --quiet                print errors only
            SIZE                       bytes, or with k, M, G, T, P, E behind it
          """;
      case "info" ->
          """
            -f FMT                     format of the image (default: probed)
            --output=human|json        how to print it
            --backing-chain            tell of all images below it too
            -U, --force-share          look without a lock
          """;
      case "inspect" ->
          """
            -f FMT                     format of the image (default: probed)
            --output=human|json        how to print it
            -U, --force-share          look without a lock
          """;
      case "map" ->
          """
            -f FMT                     format of the image (default: probed)
            --output=human|json        how to print it; json tells of zeroes and holes too
            -s, --start-offset=OFFSET  where to begin (default: 0)
            -l, --max-length=LENGTH    how far to go (default: to the end)
            -U, --force-share          look without a lock
          """;
      default ->
          """
            -f FMT                     format of the image (default: probed)
            --preallocation=off|falloc|full
                                       how the new part gets its space
            --shrink                   bytes may be cut off
            -q                         print errors only
            SIZE                       new size, or with + or - before it: by how much
          """;
    };
  }
}
