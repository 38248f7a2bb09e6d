/** The qcow2 format on paper: records and enums, parse and write, no I/O. Not exported. */
@NullMarked
package dev.imago.qcow2.ondisk;

import org.jspecify.annotations.NullMarked;
