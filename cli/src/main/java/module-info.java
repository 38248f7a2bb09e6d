/** The command line. */
module dev.imago.cli {
  requires static org.jspecify;
  requires dev.imago;
  requires dev.imago.nbd;
  requires java.management;
  requires jdk.unsupported;
}
