/**
 * Disk images over the network block device protocol.
 *
 * <p>The package {@code wire} stays closed.
 */
module dev.imago.nbd {
  exports dev.imago.nbd;

  requires static transitive org.jspecify;
  requires transitive dev.imago;
}
