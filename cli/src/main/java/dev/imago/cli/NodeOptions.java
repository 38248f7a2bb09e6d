package dev.imago.cli;

import dev.imago.OpenOptions;
import dev.imago.image.SyncMode;

/** The options that every block driver has, whatever it does. What is below inherits them. */
final class NodeOptions {
  private NodeOptions() {}

  /**
   * Takes them out.
   *
   * @param above how the node above is opened
   * @return how this one is
   */
  static OpenOptions take(BlockOptions options, OpenOptions above) throws Failure {
    String name = options.take("node-name");
    if (name != null && !name.matches("[A-Za-z][A-Za-z0-9._-]*")) {
      throw new Failure("Invalid node-name: '" + name + "'");
    }
    // A node that cannot be written to fails now, not at the first write.
    options.takeSwitch("auto-read-only", false);
    if (options.takeSwitch("read-only", false) && above.writable()) {
      throw new Failure("Block node is read-only");
    }
    boolean share = options.takeSwitch("force-share", false);
    if (share && above.writable()) {
      throw new Failure("force-share=on can only be used with read-only images");
    }
    takeDiscards(options, above.writable());
    boolean direct = options.takeSwitch("cache.direct", above.direct());
    boolean unsafe = options.takeSwitch("cache.no-flush", above.sync() == SyncMode.NONE);
    SyncMode sync =
        unsafe ? SyncMode.NONE : above.sync() == SyncMode.NONE ? SyncMode.FULL : above.sync();
    return above.forceShare(share || above.forceShare()).direct(direct).sync(sync);
  }

  /** Space is given back here, and zeroes are written as what they are said to be. */
  private static void takeDiscards(BlockOptions options, boolean writable) throws Failure {
    String discard = options.take("discard");
    boolean ignored =
        switch (discard) {
          case null -> false;
          case "unmap", "on" -> false;
          case "ignore", "off" -> true;
          default -> throw new Failure("Invalid discard option");
        };
    String zeroes = options.take("detect-zeroes");
    boolean detected =
        switch (zeroes) {
          case null -> false;
          case "off" -> false;
          case "on", "unmap" -> true;
          default -> throw new Failure("invalid parameter value: " + zeroes);
        };
    if (writable && (ignored || detected)) {
      throw new Failure(
          ignored
              ? "discard=ignore is not supported here: space is given back"
              : "detect-zeroes=" + zeroes + " is not supported here");
    }
  }
}
