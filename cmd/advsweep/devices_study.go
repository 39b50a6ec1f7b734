package main

import "advsweep/study"

func (f *flags) studyDevices(plan *study.Plan) ([]study.Device, error) {
	return []study.Device{f.cpuDevice()}, nil
}
